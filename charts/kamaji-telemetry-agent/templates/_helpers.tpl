{{/*
Returns the name of every object. It does not depend on the release: a namespace has one journal and a cluster one count, so
that Helm must refuse a second installation, which would count everything twice.
*/}}
{{- define "kamaji-telemetry-agent.name" -}}
kamaji-telemetry-agent
{{- end }}

{{/*
Returns the name of the agent's own ConfigMap (the journal) and Lease. The program defines it, so that every way of
installation shares the state.
*/}}
{{- define "kamaji-telemetry-agent.journal" -}}
kamaji-telemetry
{{- end }}

{{/* Returns the values that switch telemetry off, separated by commas; empty if it is on. Every template checks this first. */}}
{{- define "kamaji-telemetry-agent.disabledBy" -}}
{{- $keys := list }}
{{- if .Values.telemetry.disabled }}{{ $keys = append $keys "telemetry.disabled" }}{{ end }}
{{- if dig "telemetry" "disabled" false (.Values.global | default dict) }}{{ $keys = append $keys "global.telemetry.disabled" }}{{ end }}
{{- join "," $keys }}
{{- end }}

{{/* Returns the environment variables of the agent that switch telemetry off. */}}
{{- define "kamaji-telemetry-agent.optOutVariables" -}}
DO_NOT_TRACK,OTEL_SDK_DISABLED,KAMAJI_TELEMETRY_DISABLE_TELEMETRY
{{- end }}

{{/*
Returns the entries of extraArgs and extraEnv that switch telemetry off in the pod. The agent parses them the same way: every
value other than a plain no switches it off.
*/}}
{{- define "kamaji-telemetry-agent.optOutInPod" -}}
{{- $no := "(?i)^\\s*(0|f|false|n|no|off|)\\s*$" }}
{{- $found := list }}
{{- range .Values.extraArgs }}
{{- if or (eq . "--disable-telemetry") (and (hasPrefix "--disable-telemetry=" .) (not (regexMatch $no (trimPrefix "--disable-telemetry=" .)))) }}
{{- $found = append $found . }}
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if and (has .name (include "kamaji-telemetry-agent.optOutVariables" . | splitList ",")) (not (regexMatch $no (.value | default ""))) }}
{{- $found = append $found .name }}
{{- end }}
{{- end }}
{{- join ", " $found }}
{{- end }}

{{/* Returns "true" in local mode: the relay prints, and nothing leaves the cluster. */}}
{{- define "kamaji-telemetry-agent.local" -}}
{{- if and .Values.relay.enabled (not .Values.telemetry.endpoint) }}true{{ end }}
{{- end }}

{{- define "kamaji-telemetry-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kamaji-telemetry-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
Returns the labels of the pods. They exclude the chart's version, so that a new version of the chart alone restarts no pod.
The selector labels take precedence over added ones, which must not make the pod match another selector.
*/}}
{{- define "kamaji-telemetry-agent.podLabels" -}}
{{- $own := include "kamaji-telemetry-agent.selectorLabels" . | fromYaml }}
{{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) (deepCopy .Values.podLabels) $own) }}
{{- end }}

{{/* Returns the chart's own labels of every object. */}}
{{- define "kamaji-telemetry-agent.ownLabels" -}}
{{- $own := include "kamaji-telemetry-agent.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "app.kubernetes.io/part-of" "kamaji" }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- toYaml $own }}
{{- end }}

{{/* Returns the labels of every object. */}}
{{- define "kamaji-telemetry-agent.labels" -}}
{{- $own := include "kamaji-telemetry-agent.ownLabels" . | fromYaml }}
{{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) $own) }}
{{- end }}

{{/* Returns the labels and annotations of every object. */}}
{{- define "kamaji-telemetry-agent.metadata" -}}
labels:
  {{- include "kamaji-telemetry-agent.labels" . | nindent 2 }}
{{- with .Values.extraAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kamaji-telemetry-agent.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "kamaji-telemetry-agent.name" .) }}
{{- end }}

{{/* Returns the subjects of the role bindings. */}}
{{- define "kamaji-telemetry-agent.subjects" -}}
- kind: ServiceAccount
  name: {{ include "kamaji-telemetry-agent.serviceAccount" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{- define "kamaji-telemetry-agent.kamajiNamespace" -}}
{{ .Values.telemetry.kamajiNamespace | default .Release.Namespace }}
{{- end }}

{{/* Returns the reference of "image": with its digest, else with its tag, else with the default "tag". */}}
{{- define "kamaji-telemetry-agent.image" -}}
{{- $image := .image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .tag }}{{ end }}
{{- end }}

{{/* Returns the security context of both containers. */}}
{{- define "kamaji-telemetry-agent.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{/* Returns the port of a URL. The default is the port of its scheme. */}}
{{- define "kamaji-telemetry-agent.port" -}}
{{- $host := (urlParse .).host }}
{{- if regexMatch ":[0-9]+$" $host }}{{ regexFind "[0-9]+$" $host }}
{{- else if hasPrefix "https://" . }}443
{{- else }}80
{{- end }}
{{- end }}
