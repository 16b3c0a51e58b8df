# Shared by the scripts beside it: where things are, and whether they are set up. Sourced by POSIX sh with
# `here` the path of the script.

top=${here%/scripts/*}
venv=$top/.venv

# What the environment was built from; it is built again when that changes. It cannot be moved, nor outlive its Python.
fingerprint() {
    set -- "$top/pyproject.toml" "$top/scripts/lib.sh"
    for file in "$top/setup.py" "$top"/cowfs/fuse/transport/*.[ch]; do
        [ ! -f "$file" ] || set -- "$@" "$file"
    done
    { echo "$top" && readlink -f /usr/bin/python3 && cat "$@"; } | cksum
}

# is_set_up [test]: a few milliseconds, no Python.
is_set_up() {
    [ -f "$venv/stamp${1:+-$1}" ] && read -r stamp <"$venv/stamp${1:+-$1}" && [ "$stamp" = "$(fingerprint)" ]
}

# The commands start without site, which is a third of the time that Python takes to start. pip's own scripts stay where
# the path is too long or too odd for a first line of #!.
plain_commands() {
    case $venv in *[!A-Za-z0-9/._+-]*) return 0 ;; esac
    [ ${#venv} -lt 100 ] || return 0
    set -- "$top" "$top/launcher" "$top/tools" "$venv"/lib/python3*/site-packages
    for script in cowfs cowrun cowdiff cowfs-overlay mount.fuse.cowfs; do
        main=$(sed -n 's/^from \(.*\) import main$/\1/p' "$venv/bin/$script")
        {
            printf '#!%s/bin/python3 -IS\nimport gc\nimport sys\n\n' "$venv"
            printf 'gc.disable()  # until everything is imported\n'
            printf 'sys.path += "%s".split()\n\nfrom %s import main\n\nmain()\n' "$*" "$main"
        } >"$venv/bin/$script.new"
        chmod 755 "$venv/bin/$script.new"
        mv "$venv/bin/$script.new" "$venv/bin/$script"
    done
}

# pip finds an editable project of three source directories by a program, which costs each start of a command 10 ms;
# three lines do the same.
plain_paths() {
    for hook in "$venv"/lib/python3*/site-packages/__editable__.cowfs-*.pth; do
        printf '%s\n' "$top" "$top/launcher" "$top/tools" >"$hook"
    done
}
