#!/bin/sh
# Builds the guest: build.sh OUT. Needs `as` and `ld` of binutils for x86.
set -eu
out=${1:?usage: build.sh OUT}
here=$(dirname "$0")
as --32 "$here/guest.S" -o "$out.o"
ld -m elf_i386 -Ttext 0x100000 -nostdlib -n -s --no-warn-rwx-segments -o "$out" "$out.o"
rm -f "$out.o"
