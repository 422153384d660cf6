#!/usr/bin/env bash
# A second systemd with everything of this machine's files and nothing of its devices, in namespaces of its own: what it
# writes goes into memory, and is gone with it. For root; started by _systemd_world.py.
#   _systemd_world.sh FOLDER PATH...     FOLDER: where it is put together; PATH: what other users are to reach, too
set -euo pipefail
folder=$1
shift
root=$folder/root

mount -t tmpfs tmpfs "$folder"
mkdir "$folder"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# Devices that do nothing, instead of this machine's.
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
while read -r name major minor; do
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<< $'null 1 3\nzero 1 5\nfull 1 7\nrandom 1 8\nurandom 1 9\ntty 5 0'
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# Nothing that looks for devices, networks or the time, or changes the kernel's settings.
units=$root/etc/systemd/system
for unit in systemd-{udevd,udev-trigger,networkd,resolved,timesyncd,sysctl,modules-load,binfmt,random-seed,update-utmp}.service \
    systemd-tmpfiles-setup-dev.service networking.service dbus.{service,socket} sys-kernel-{debug,tracing,config}.mount \
    sys-fs-fuse-connections.mount dev-{hugepages,mqueue}.mount; do
    ln -sf /dev/null "$units/$unit"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' > "$units/edgevad-world.target"

# Programs of a developer lie in a home that is closed to others.
for path in "$@"; do
    while [ "$path" != / ]; do
        chmod o+x "$root$path"
        path=$(dirname "$path")
    done
done
exec chroot "$root" /usr/bin/env -i container=edgevad PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=edgevad-world.target --log-target=null --show-status=no
