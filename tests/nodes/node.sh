#!/bin/bash
# The first process of a node, in mount, network, UTS and PID namespaces of its own: when it is killed, the kernel ends
# everything in them. It reaps what pods leave and ends by itself only if the node cannot be set up.
#
# node.sh FOLDER NAME ADDRESS GATEWAY KUBELET KUBE_PROXY KUBECONFIG HIDDEN ["ADDRESS POD_RANGE" of another node]...
set -eu
folder=$1 name=$2 address=$3 gateway=$4 kubelet=$5 kube_proxy=$6 kubeconfig=$7 hidden=$8
shift 8

hostname "$name"
mount --make-rshared / # the kubelet hands mounts on to containers; nothing of it is seen outside this namespace

# What the kubelet sets for the whole machine it finds set already, in files of this node's own.
mkdir -p "$folder/sysctl"
shield() { # FILE VALUE
	[ -e "/proc/sys/$1" ] || return 0
	echo "$2" >"$folder/sysctl/${1//\//.}"
	mount --bind "$folder/sysctl/${1//\//.}" "/proc/sys/$1"
}
shield vm/overcommit_memory 1
shield vm/panic_on_oom 0
shield kernel/panic 10
shield kernel/panic_on_oops 1
shield kernel/keys/root_maxkeys 1000000
shield kernel/keys/root_maxbytes 25000000

for place in ${hidden//:/ }; do mount -t tmpfs tmpfs "$place"; done
for place in kubelet containerd; do # on the disk: they hold images and what pods write
	mkdir -p "$folder/$place" "/var/lib/$place"
	mount --bind "$folder/$place" "/var/lib/$place"
done

until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
for peer in "$@"; do
	read -r peer_address pod_range <<<"$peer"
	ip route add "$pod_range" via "$peer_address"
done

containerd --config "$folder/containerd.toml" --log-level warn >"$folder/containerd.log" 2>&1 &
until ctr version >/dev/null 2>&1; do sleep 0.05; done
while true; do # it gives up where containerd is not ready yet, and a real node's init starts it again
	"$kubelet" --config "$folder/kubelet.yaml" --kubeconfig "$kubeconfig" --cert-dir "$folder" --node-ip "$address" \
		--hostname-override "$name" >>"$folder/kubelet.log" 2>&1 || true
	sleep 0.2
done &
"$kube_proxy" --config "$folder/kube-proxy.yaml" >"$folder/kube-proxy.log" 2>&1 &
wait
