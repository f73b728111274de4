#!/usr/bin/env bash
# The first process of a host, in namespaces of its own: host.sh NAME ADDRESS ROUTER HOME DISK SSHD_CONFIG KEPT...
# Nothing of the machine's home folders, /tmp, /dev/shm, /run and /mnt is seen here but the folders KEPT;
# HOME is the folder DISK.
set -euo pipefail
name=$1 address=$2 router=$3 home=$4 disk=$5 sshd_config=$6
shift 6

hostname "$name"
mount --make-rprivate /
own=$(mktemp -d)
sed "s|^root:\([^:]*:0:0:[^:]*\):[^:]*:[^:]*$|root:\1:$home:/bin/bash|" /etc/passwd >"$own/passwd"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$own/hosts"
touch "$own/resolv.conf" # nobody answers here: better to be told so at once
for file in passwd hosts resolv.conf; do mount --bind "$own/$file" "/etc/$file"; done
rm -r "$own"
declare -A held
for folder in "$@"; do
    exec {descriptor}<"$folder"
    held[$folder]=$descriptor
done
for folder in /tmp /dev/shm /run /mnt; do mount -t tmpfs -o mode=1777 "$name" "$folder"; done
for folder in "$@"; do
    mkdir -p "$folder"
    mount --no-canonicalize --bind "/proc/self/fd/${held[$folder]}" "$folder"
    descriptor=${held[$folder]}
    exec {descriptor}<&-
done
mkdir -p /run/sshd "$home"
mount --bind "$disk" "$home"
mkdir -p "$home/.ssh"
chmod 755 /run/sshd
chmod 700 "$home" "$home/.ssh"

ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$router"
exec /usr/sbin/sshd -D -e -f "$sshd_config"
