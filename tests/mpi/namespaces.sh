#!/bin/sh
# Runs a program under an MPI on four hosts that are network namespaces of this machine, joined by a bridge:
# namespaces.sh openmpi|mpich exit|each PROGRAM [ARGUMENT ...], judged as by run.sh. LINK in the environment shapes each
# host's link by tc, for example LINK='netem delay 20ms' or LINK='tbf rate 100mbit burst 64kb latency 100ms'. LIMIT is the most
# seconds that the program may take, NAME the beginning of the namespaces' names (NAME-0 ... NAME-3).
# 77 without root, ip or the MPI. MPICH over UCX notices that the hosts are one machine, and uses its memory; UCX_TLS=tcp,self in the
# environment sends over the links, but MPICH 4.0.2 then sometimes hangs in MPI_Finalize.
flavour=$1 judge=$2
shift 2
hosts=4
launcher=$(command -v "mpirun.$flavour") || { echo "there is no mpirun.$flavour"; exit 77; }
[ "$(id -u)" = 0 ] && command -v ip >/dev/null || { echo 'network namespaces need root and iproute2'; exit 77; }

tag=${NAME-cb$$}
work=$(mktemp -d /tmp/cribo-XXXXXX) || exit 2 # short: sockets are made in it
cleanup() {
    for i in 0 1 2 3; do
        ip netns pids "$tag-$i" 2>/dev/null | xargs -r kill -9 2>/dev/null
        ip netns del "$tag-$i" 2>/dev/null
    done
    ip netns del "$tag-switch" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

# The bridge is in a separate namespace, so that the machine's network does not change.
ip netns add "$tag-switch" 2>/dev/null || { echo 'this machine refuses network namespaces'; exit 77; }
ip netns exec "$tag-switch" ip link add bridge type bridge || { echo 'there is no bridge'; exit 77; }
ip netns exec "$tag-switch" ip link set bridge up
for i in $(seq 0 $((hosts - 1))); do
    ip netns add "$tag-$i" || exit 2
    ip link add eth0 netns "$tag-$i" type veth peer name "port$i" netns "$tag-switch" || exit 2
    ip netns exec "$tag-switch" ip link set "port$i" master bridge up
    ip netns exec "$tag-$i" ip address add "10.77.0.$((i + 1))/24" dev eth0
    ip netns exec "$tag-$i" ip link set eth0 up
    ip netns exec "$tag-$i" ip link set lo up
    [ -z "${LINK-}" ] || ip netns exec "$tag-$i" tc qdisc add dev eth0 root $LINK || exit 2
done

# Stands in for ssh: AGENT [OPTION ...] HOST COMMAND ...
cat > "$work/agent" <<END
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\$1
shift
number=\$((\${host##*.} - 1))
exec ip netns exec "$tag-\$number" env TMPDIR="$work/\$number" sh -c "\$*"
END
mkdir "$work/0" "$work/1" "$work/2" "$work/3" # each host has temporary files of its own: Open MPI's daemons collide else
chmod +x "$work/agent"

addresses=$(seq 1 $hosts | sed 's/^/10.77.0./' | paste -sd, -)
if [ "$flavour" = openmpi ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    set -- --host "$addresses" --mca plm_rsh_agent "$work/agent" --mca pml ob1 --mca btl tcp,self \
        --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 -n $hosts \
        -x LD_LIBRARY_PATH "$@"
else
    set -- -hosts "$addresses" -launcher ssh -launcher-exec "$work/agent" -iface eth0 -n $hosts "$@"
fi
run() { timeout -k 5 "${LIMIT-120}" ip netns exec "$tag-0" env TMPDIR="$work/0" "$launcher" "$@" </dev/null; }
if [ "$judge" = exit ]; then
    run "$@"
    exit
fi
output=$(run "$@" 2>&1)
found=$(printf '%s\n' "$output" | grep -c '^rank [0-9]*: as expected$')
[ "$found" = "$hosts" ] || { printf '%s\n' "$output"; echo "$found of $hosts ranks ended as expected"; exit 1; }
