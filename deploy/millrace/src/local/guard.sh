# Arguments: marker, PostgreSQL cluster, directories to remove afterwards.
# Standard input is a pipe that only the guarded process can write to: its end is the end of that process.
marker=$1 cluster=$2
shift 2
while read -r _; do :; done

# A process id file may be stale and its id reused: the process must have been started with this very directory.
postmaster() {
    pid=
    { read -r pid <"$cluster/postmaster.pid"; } 2>/dev/null || return 1
    grep -qzxF -- "$cluster" "/proc/$pid/cmdline" 2>/dev/null
}

marked() {
    found=
    for file in $(grep -lzxF -- "MILLRACE_STATE=$marker" /proc/[0-9]*/environ 2>/dev/null); do
        file=${file#/proc/}
        found="$found ${file%/environ}"
    done
}

parent_of() {
    parent=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    set -- ${stat##*) }
    parent=$2
}

# Asks each process once, and not the helpers of a server: they end with it, and would pull it down in disorder.
asked=
ask() {
    for process in $pid $found; do
        parent_of "$process"
        case " $found $pid " in *" $parent "*) continue ;; esac
        case " $asked " in *" $process "*) continue ;; esac
        asked="$asked $process"
        if [ "$process" = "$pid" ]; then kill -INT "$process"; else kill -TERM "$process"; fi
    done
}

# Data that is removed anyway needs no orderly end; only PostgreSQL is let go itself, for its shared memory.
discard() {
    for process in $pid $found; do
        if [ "$process" = "$pid" ]; then kill -INT "$process"; else kill -KILL "$process"; fi
    done
}

kill_all() {
    [ -z "$pid$found" ] || kill -KILL $pid $found
}

# Repeats the given step until nothing is left. A program that is just being started shows no environment for a moment,
# so nothing must be found twice.
gone_within() {
    tenths=$1 clear=0
    while [ "$clear" -lt 2 ]; do
        marked
        postmaster || pid=
        if [ -n "$pid$found" ]; then clear=0; else clear=$((clear + 1)); fi
        [ "$tenths" -gt 0 ] || return 1
        tenths=$((tenths - 1))
        "$2"
        sleep 0.1
    done
}

{
    if [ $# -gt 0 ]; then gone_within 50 discard; else gone_within 200 ask; fi || gone_within 50 kill_all
} 2>/dev/null
[ $# -eq 0 ] || rm -rf -- "$@"
