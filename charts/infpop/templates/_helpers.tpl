{{- define "infpop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The name of cluster-scoped objects: a cluster may have several operators, each of one namespace, with one name. */ -}}
{{- define "infpop.clusterName" -}}
{{- if include "infpop.watchNamespace" . -}}
{{- printf "%s-%s" (include "infpop.fullname" .) .Release.Namespace -}}
{{- else -}}
{{- include "infpop.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "infpop.ownLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* Labels of the operator's Pod only: the Pod of `helm test` must not match them. */ -}}
{{- define "infpop.selectorLabels" -}}
{{ include "infpop.ownLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "infpop.standardLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "infpop.ownLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* Labels of every object. */ -}}
{{- define "infpop.labels" -}}
{{ include "infpop.labelsAnd" (list . dict) }}
{{- end -}}

{{- /* Labels of an object that has more, which come before commonLabels: (list $ .Values.podLabels). */ -}}
{{- define "infpop.labelsAnd" -}}
{{- $root := index . 0 -}}
{{ include "infpop.standardLabels" $root }}
{{- with merge dict (index . 1) $root.Values.commonLabels }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "infpop.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "infpop.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* The namespace whose studies the operator handles; empty for all namespaces. */ -}}
{{- define "infpop.watchNamespace" -}}
{{- if .Values.rbac.namespaced -}}
{{- default .Release.Namespace .Values.watchNamespace -}}
{{- else -}}
{{- .Values.watchNamespace -}}
{{- end -}}
{{- end -}}

{{- /*
An image by digest, by tag, or by this version of InfPop: (list $ .Values.image). Empty if it has no repository.
*/ -}}
{{- define "infpop.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.repository -}}
{{- $name := include "infpop.fromRegistry" (list $root $image.repository) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
The name of an image with global.imageRegistry in place of its registry: (list $ "registry/name:tag"). What comes before
the first slash is a registry if it has a dot or a port, or is localhost, as for docker.
*/ -}}
{{- define "infpop.fromRegistry" -}}
{{- $registry := (index . 0).Values.global.imageRegistry | trimSuffix "/" -}}
{{- $name := index . 1 -}}
{{- if $registry -}}
{{- printf "%s/%s" $registry (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $name "") -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{- /* The Secrets of the chart and of `global`, which has names or objects; empty if there is none. */ -}}
{{- define "infpop.imagePullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets -}}
{{- range .Values.global.imagePullSecrets -}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- if $secrets -}}
{{- uniq $secrets | toYaml -}}
{{- end -}}
{{- end -}}

{{- /* The operator's environment: settings of docs/install.md and docs/prometheus.md. */ -}}
{{- define "infpop.environment" -}}
{{- $environment := dict -}}
{{- if .Values.runner.image.repository -}}
{{- $_ := set $environment "INFPOP_RUNNER_IMAGE" (include "infpop.image" (list . .Values.runner.image)) -}}
{{- end -}}
{{- $_ := set $environment "INFPOP_NAMESPACE" (include "infpop.watchNamespace" .) -}}
{{- $_ := set $environment "INFPOP_NODE_SELECTOR" .Values.operator.nodeSelectorForPools -}}
{{- $_ := set $environment "INFPOP_TICK_SECONDS" .Values.operator.tickSeconds -}}
{{- $_ := set $environment "INFPOP_RESYNC_SECONDS" .Values.operator.resyncSeconds -}}
{{- $_ := set $environment "INFPOP_STATUS_PAUSE_SECONDS" .Values.operator.statusPauseSeconds -}}
{{- $_ := set $environment "INFPOP_STOP_SECONDS" .Values.operator.stopSeconds -}}
{{- if not .Values.rbac.readNodes -}}
{{- $_ := set $environment "INFPOP_NODES_FILE" "/etc/infpop/nodes/nodes.yaml" -}}
{{- end -}}
{{- with .Values.prometheus -}}
{{- if .url -}}
{{- $_ := set $environment "INFPOP_PROMETHEUS_URL" .url -}}
{{- $_ := set $environment "INFPOP_PROMETHEUS_TIMEOUT_SECONDS" .timeoutSeconds -}}
{{- $_ := set $environment "INFPOP_PROMETHEUS_PATIENCE_SECONDS" .patienceSeconds -}}
{{- $_ := set $environment "INFPOP_METRICS_SOURCES" (join "," .sources) -}}
{{- $_ := set $environment "INFPOP_SCRAPE_GRACE_SECONDS" $.Values.metrics.scrapeGrace -}}
{{- $files := dict "TOKEN" .tokenKey "CA" .caKey "CERT" .certKey "KEY" .privateKeyKey "HEADERS" .headersKey -}}
{{- range $what, $key := $files -}}
{{- if $key -}}
{{- $_ := set $environment (printf "INFPOP_PROMETHEUS_%s_FILE" $what) (printf "/etc/infpop/prometheus/%s" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $environment -}}
{{- if ne (toString $value) "" }}
- name: {{ $name }}
  value: {{ toString $value | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
