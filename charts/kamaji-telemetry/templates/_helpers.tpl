{{/*
Every object has this name. It is no release's: the agent's journal is one a namespace and its counts are one a cluster,
so a second installation is refused by Helm rather than counted twice.
*/}}
{{- define "kamaji-telemetry.name" -}}
kamaji-telemetry
{{- end }}

{{/* Says "true" where telemetry is off. Every template begins with it. */}}
{{- define "kamaji-telemetry.off" -}}
{{- if or .Values.telemetry.disabled (dig "telemetry" "disabled" false (.Values.global | default dict)) }}true{{ end }}
{{- end }}

{{/* Says "true" where nothing leaves: the relay prints instead. */}}
{{- define "kamaji-telemetry.local" -}}
{{- if and .Values.relay.enabled (not .Values.telemetry.endpoint) }}true{{ end }}
{{- end }}

{{- define "kamaji-telemetry.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kamaji-telemetry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pods, which a new version of the chart alone need not restart. Ours win: others' must not select it. */}}
{{- define "kamaji-telemetry.podLabels" -}}
{{- $ours := include "kamaji-telemetry.selectorLabels" . | fromYaml }}
{{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) (deepCopy .Values.podLabels) $ours) }}
{{- end }}

{{/* Of every object. */}}
{{- define "kamaji-telemetry.labels" -}}
{{- $ours := include "kamaji-telemetry.selectorLabels" . | fromYaml }}
{{- $_ := set $ours "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "kamaji" }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) $ours) }}
{{- end }}

{{/* Labels and annotations of every object, below its name. */}}
{{- define "kamaji-telemetry.metadata" -}}
labels:
  {{- include "kamaji-telemetry.labels" . | nindent 2 }}
{{- with .Values.extraAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kamaji-telemetry.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "kamaji-telemetry.name" .) }}
{{- end }}

{{/* Whom the roles are bound to. */}}
{{- define "kamaji-telemetry.subjects" -}}
- kind: ServiceAccount
  name: {{ include "kamaji-telemetry.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "kamaji-telemetry.kamajiNamespace" -}}
{{ .Values.telemetry.kamajiNamespace | default .Release.Namespace }}
{{- end }}

{{/* An image by its digest, else by its tag, else by the tag that is given beside it. */}}
{{- define "kamaji-telemetry.image" -}}
{{- $image := .image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .tag }}{{ end }}
{{- end }}

{{/* Of both containers. */}}
{{- define "kamaji-telemetry.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{/* The port of a URL, which has none where it is the scheme's own. */}}
{{- define "kamaji-telemetry.port" -}}
{{- $host := (urlParse .).host }}
{{- if regexMatch ":[0-9]+$" $host }}{{ regexFind "[0-9]+$" $host }}
{{- else if hasPrefix "https://" . }}443
{{- else }}80
{{- end }}
{{- end }}
