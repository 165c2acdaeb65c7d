# Fails when more than $1 of this run for $2 at the same time: each has a folder while it runs.
mkdir "running-$2-$$"
sleep 0.02
set -- "$1" "running-$2-"*
most=$1
shift
rmdir "${1%-*}-$$"
[ $# -le "$most" ] || { echo "$# at once" >&2; exit 1; }
