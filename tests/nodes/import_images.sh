#!/bin/bash
# Unpack images with a containerd in mount and PID namespaces of its own, which leaves its state in FOLDER.
#
# import_images.sh FOLDER ARCHIVE...
set -eu
folder=$1
shift
mount -t tmpfs tmpfs /run
cat >/run/config.toml <<CONFIG # not the machine's own
version = 2
root = "$folder"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
CONFIG
containerd --config /run/config.toml --log-level warn >/run/containerd.log 2>&1 &
containerd=$!
until ctr version >/dev/null 2>&1; do
	kill -0 $containerd 2>/dev/null || { cat /run/containerd.log >&2 && exit 1; }
	sleep 0.05
done
for archive in "$@"; do ctr --namespace k8s.io images import "$archive" >/dev/null; done
kill $containerd
wait $containerd || true
