{{- /*
The operator's rights, each with its reason. They equal those of examples/cluster/rbac.yaml; a test compares both. The
operator may not read a Secret, write a study's spec, change a node, or delete anything but Jobs and Pods.
*/ -}}
{{- define "infpop.namespacedRules" -}}
# Studies. The spec belongs to its owner: the operator may not write it.
- apiGroups: [infpop.io]
  resources: [throughputstudies]
  verbs: [list, watch]
# Where the operator reports.
- apiGroups: [infpop.io]
  resources: [throughputstudies/status]
  verbs: [update]
# One Job for each run: the operator creates it, reads it again before it gives up or stops the run (get), sets its time
# to live (patch), and deletes it when the study no longer needs it.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# The state of runs: why they wait, and the result in their termination message. A Pod whose Job a user deleted without
# it (--cascade=orphan) would keep its GPUs: the operator deletes it.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# The journal of each study, and the ConfigMaps that spec.publish names.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch]
# The operator writes Events about studies; those about Jobs and Pods say why a Pod was refused or a volume not mounted.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- if .Values.rbac.readWorkloads }}
# Why Kueue holds a run back. Without this right, or without Kueue, a study says only that its run waits.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end }}
{{- end -}}

{{- define "infpop.nodeRules" -}}
# Which GPUs the nodes have.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}

{{- define "infpop.scanningRules" -}}
# kopf reads which kinds exist, and notices a definition that is added later; not for an operator of one namespace.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
{{- end -}}
