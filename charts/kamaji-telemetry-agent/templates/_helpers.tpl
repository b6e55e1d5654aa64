{{/*
Every object has this name. It is no release's: the agent's journal is one a namespace and its counts are one a cluster,
so a second installation is refused by Helm rather than counted twice.
*/}}
{{- define "kamaji-telemetry.name" -}}
kamaji-telemetry
{{- end }}

{{/* The values by which telemetry is off, with commas between; empty where it is not. Every template begins with it. */}}
{{- define "kamaji-telemetry.off" -}}
{{- $keys := list }}
{{- if .Values.telemetry.disabled }}{{ $keys = append $keys "telemetry.disabled" }}{{ end }}
{{- if dig "telemetry" "disabled" false (.Values.global | default dict) }}{{ $keys = append $keys "global.telemetry.disabled" }}{{ end }}
{{- join "," $keys }}
{{- end }}

{{/* The agent's variables that switch telemetry off. */}}
{{- define "kamaji-telemetry.switches" -}}
DO_NOT_TRACK,OTEL_SDK_DISABLED,KAMAJI_TELEMETRY_DISABLE_TELEMETRY
{{- end }}

{{/* What of extraArgs and extraEnv switches it off in the pod. As the agent reads them, all but a plain no is a yes. */}}
{{- define "kamaji-telemetry.switch" -}}
{{- $no := "(?i)^\\s*(0|f|false|n|no|off|)\\s*$" }}
{{- $found := list }}
{{- range .Values.extraArgs }}
{{- if or (eq . "--disable-telemetry") (and (hasPrefix "--disable-telemetry=" .) (not (regexMatch $no (trimPrefix "--disable-telemetry=" .)))) }}
{{- $found = append $found . }}
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if and (has .name (include "kamaji-telemetry.switches" . | splitList ",")) (not (regexMatch $no (.value | default ""))) }}
{{- $found = append $found .name }}
{{- end }}
{{- end }}
{{- join ", " $found }}
{{- end }}

{{/* Says "true" where nothing leaves: the relay prints instead. */}}
{{- define "kamaji-telemetry.local" -}}
{{- if and .Values.relay.enabled (not .Values.telemetry.endpoint) }}true{{ end }}
{{- end }}

{{- define "kamaji-telemetry.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kamaji-telemetry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Of the pods, which a new version of the chart alone need not restart. Ours win: others' must not select it. */}}
{{- define "kamaji-telemetry.podLabels" -}}
{{- $ours := include "kamaji-telemetry.selectorLabels" . | fromYaml }}
{{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) (deepCopy .Values.podLabels) $ours) }}
{{- end }}

{{/* The chart's own, of every object. */}}
{{- define "kamaji-telemetry.ours" -}}
{{- $ours := include "kamaji-telemetry.selectorLabels" . | fromYaml }}
{{- $_ := set $ours "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "kamaji" }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- toYaml $ours }}
{{- end }}

{{/* Of every object. */}}
{{- define "kamaji-telemetry.labels" -}}
{{- $ours := include "kamaji-telemetry.ours" . | fromYaml }}
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
  name: {{ include "kamaji-telemetry.serviceAccount" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
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
