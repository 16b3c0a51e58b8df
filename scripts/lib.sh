# Shared by the scripts beside it: where things are, and whether they are set up. Sourced, POSIX sh.

top=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
venv=$top/.venv

# What the environment was built from. It is built again when this changes.
fingerprint() {
    for file in "$top/pyproject.toml" "$top/setup.py" "$top"/cowfs/fuse/transport/*.c; do
        [ ! -f "$file" ] || cat "$file"
    done | cksum
}

# is_set_up [test]: costs a few milliseconds, starts no Python.
is_set_up() {
    [ -f "$venv/stamp${1:+-$1}" ] && [ "$(cat "$venv/stamp${1:+-$1}")" = "$(fingerprint)" ]
}
