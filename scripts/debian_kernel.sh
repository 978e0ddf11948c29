#!/usr/bin/env bash
# Downloads Debian's cloud kernel and a static busybox, and makes of them what the smoke test boots: debian_kernel.sh [DIR]
# DIR (default target/debian-kernel) then holds `vmlinuz` and `initrd`. The guest prints SMOKE-READY, and powers off when its power
# button is pressed. Nothing is installed, and no root is needed; where apt or the network is missing it says so and ends well.
set -euo pipefail
cd "$(dirname "$0")/.."
to=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/debian-kernel}")
if [ -e "$to/initrd" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "debian_kernel: needs Debian's apt-get and dpkg: the smoke test of a Linux guest is skipped"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
options=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20)
if [ -z "$kernel" ] || ! apt-get "${options[@]}" download "$kernel" busybox-static >/dev/null 2>&1; then
    echo "debian_kernel: ${kernel:-linux-image-cloud-amd64} cannot be downloaded (offline, or no package list?): the smoke test of a Linux guest is skipped"
    exit 0
fi
for package in ./*.deb; do
    dpkg -x "$package" root
done
busybox=$(find "$work/root" -path '*bin/busybox' -type f)
modules=$(echo root/lib/modules/*)

# In the order in which they are loaded. The virtio transport of the machine `microvm` is a module, found through ACPI.
mkdir -p ramdisk/{bin,dev,proc,sys,modules}
order=(virtio_ring virtio virtio_mmio virtio_blk failover net_failover virtio_net evdev button)
for module in "${order[@]}"; do
    find "$modules" -name "$module.ko*" -exec cp {} ramdisk/modules/ \;
done
cp "$busybox" ramdisk/bin/busybox
cat >ramdisk/init <<INIT
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in ${order[*]}; do
    [ -e /modules/\$module.ko ] && /bin/busybox insmod /modules/\$module.ko
done
# Open before anybody is told to press it.
exec 3</dev/input/event0
echo "SMOKE-READY \$(/bin/busybox uname -r) \$(/bin/busybox cat /proc/sys/kernel/random/boot_id)"
/bin/busybox dd of=/dev/null bs=24 count=1 <&3 2>/dev/null
echo SMOKE-POWERBUTTON
/bin/busybox poweroff -f
INIT
chmod +x ramdisk/init
(cd ramdisk && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >initrd
mkdir -p "$to"
cp root/boot/vmlinuz-* "$to/vmlinuz"
# Last of all: where it is, all is.
mv initrd "$to/initrd"
echo "debian_kernel: $kernel and busybox are in $to"
