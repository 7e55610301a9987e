{{- /* What values contradict each other or are missing: a line each, which names the values and the remedy. */ -}}
{{- define "infpop.problems" -}}
{{- include "infpop.imageProblem" . }}
{{- with .Values.prometheus }}
{{- if and (or .tokenKey .caKey .certKey .privateKeyKey .headersKey) (not .secretName) }}
- prometheus.secretName is empty, but prometheus names keys of a Secret. Name the Secret that has them.
{{- end }}
{{- if ne (empty .certKey) (empty .privateKeyKey) }}
- prometheus.certKey and prometheus.privateKeyKey belong together: set both or neither.
{{- end }}
{{- end }}
{{- if and .Values.nodes .Values.rbac.readNodes }}
- nodes is used only with rbac.readNodes: false. Leave it out, or set that.
{{- end }}
{{- if not (or .Values.nodes .Values.rbac.readNodes) }}
- rbac.readNodes: false means that the operator cannot ask which nodes there are: list them in `nodes`.
{{- end }}
{{- $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels }}
{{- range $part := list "serviceMonitor" "podMonitor" "prometheusRule" "dashboards" }}
{{- $_ := set $labels (printf "metrics.%s.labels" $part) (index $.Values.metrics $part).labels }}
{{- end }}
{{- $own := include "infpop.standardLabels" . | fromYaml }}
{{- range $value, $given := $labels }}
{{- range $label, $_ := $given }}
{{- if or (hasKey $own $label) (eq $label "app.kubernetes.io/component") }}
- {{ $value }}: {{ $label }} is a label of the chart's own. Leave it out.
{{- end }}
{{- end }}
{{- end }}
{{- range $own := include "infpop.environment" . | trim | fromYamlArray }}
{{- range $.Values.extraEnv }}
{{- if eq .name $own.name }}
- extraEnv: {{ .name }} is set by the chart already. Leave it out, and set the value that it comes from.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* There are no published images, so that no default could be pulled. */ -}}
{{- define "infpop.imageProblem" -}}
{{- $missing := list }}
{{- if not .Values.image.repository }}
{{- $missing = append $missing "image.repository" }}
{{- end }}
{{- if not (or .Values.runner.image.repository .Values.runner.image.optional) }}
{{- $missing = append $missing "runner.image.repository" }}
{{- end }}
{{- if $missing }}
- {{ join " and " $missing }} {{ len $missing | eq 1 | ternary "is" "are" }} empty, and no images are published: build them in a checkout of InfPop (make images IMAGE_PREFIX=registry.example.com/), push them to a registry of your own, and add
{{- range $missing }}
    --set {{ . }}=registry.example.com/infpop-{{ eq . "image.repository" | ternary "operator" "runner" }}
{{- end }}
{{- if has "runner.image.repository" $missing }}
  If every study names its own image: --set runner.image.optional=true
{{- end }}
{{- end }}
{{- end -}}
