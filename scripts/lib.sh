# Shared by the scripts beside it: where things are, and whether they are set up. Sourced by POSIX sh with
# `here` the path of the script.

top=${here%/scripts/*}
venv=$top/.venv

# What the environment was built from; it is built again when that changes. It cannot be moved, nor outlive its Python.
fingerprint() {
    set -- "$top/pyproject.toml"
    for file in "$top/setup.py" "$top"/cowfs/fuse/transport/*.[ch]; do
        [ ! -f "$file" ] || set -- "$@" "$file"
    done
    { echo "$top" && readlink -f /usr/bin/python3 && cat "$@"; } | cksum
}

# is_set_up [test]: a few milliseconds, no Python.
is_set_up() {
    [ -f "$venv/stamp${1:+-$1}" ] && read -r stamp <"$venv/stamp${1:+-$1}" && [ "$stamp" = "$(fingerprint)" ]
}

# pip finds an editable project of three source directories by a program, which costs each start of a command 10 ms;
# three lines do the same.
plain_paths() {
    for hook in "$venv"/lib/python3*/site-packages/__editable__.cowfs-*.pth; do
        printf '%s\n' "$top" "$top/launcher" "$top/tools" >"$hook"
    done
}
