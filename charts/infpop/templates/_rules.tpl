{{- /*
The operator's rights, each with its reason: those of examples/cluster/rbac.yaml, with which a test compares them. There
is no right to read a Secret, to write a study's spec, to touch a node, or to delete anything but Jobs.
*/ -}}
{{- define "infpop.namespacedRules" -}}
# What it is asked for. The spec belongs to its owner: there is no right to write it.
- apiGroups: [infpop.io]
  resources: [throughputstudies]
  verbs: [list, watch]
# Where it answers.
- apiGroups: [infpop.io]
  resources: [throughputstudies/status]
  verbs: [update]
# One Job for each run: created, read anew (get), told when it may be removed (patch), deleted when nobody wants
# it any more.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# How runs are: why they wait, what they left as their last word.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The journal of each study, and the ConfigMap that spec.publish names.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch]
# Events about studies are written; those about Jobs and Pods tell why a Pod was refused, or a volume not mounted.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- end -}}

{{- define "infpop.nodeRules" -}}
# Which GPUs there are.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}

{{- define "infpop.scanningRules" -}}
# kopf looks which kinds there are, and notices a definition that comes later; not for an operator of one namespace.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
{{- end -}}
