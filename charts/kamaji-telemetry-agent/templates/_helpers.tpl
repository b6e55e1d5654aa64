{{/*
Returns the name of every object. It does not depend on the release: a namespace has one journal and a cluster one count, so
that Helm must refuse a second installation, which would count everything twice.
*/}}
{{- define "kamaji-telemetry-agent.name" -}}
kamaji-telemetry-agent
{{- end }}

{{/*
Returns the name of the agent's own ConfigMap (the journal, whose base has this name and -base) and Lease. The program defines it, so that every way of
installation shares the state.
*/}}
{{- define "kamaji-telemetry-agent.journal" -}}
kamaji-telemetry
{{- end }}

{{/*
Returns "on"; or "off" if telemetry is switched off and the Deployment stays all the same; or nothing if nothing is rendered.
Every template includes this first. Unless nothing is rendered it completes the values, too.
*/}}
{{- define "kamaji-telemetry-agent.mode" -}}
{{- include "kamaji-telemetry-agent.validateSwitches" . }}
{{- $mode := "on" }}
{{- if include "kamaji-telemetry-agent.disabledBy" . }}
{{- $mode = ternary "off" "" (eq (toString .Values.keepWhenDisabled) "true") }}
{{- end }}
{{- if $mode }}{{ include "kamaji-telemetry-agent.setDefaults" . }}{{ end }}
{{- $mode }}
{{- end }}

{{/*
Returns the values that switch telemetry off, separated by commas; empty if it is on. The values of a dependency are named as
its parent chart sets them.
*/}}
{{- define "kamaji-telemetry-agent.disabledBy" -}}
{{- $keys := list }}
{{- $prefix := ternary "" (printf "%s." .Chart.Name) .Chart.IsRoot }}
{{- if .Values.disabled }}{{ $keys = append $keys (printf "%sdisabled" $prefix) }}{{ end }}
{{- if (.Values.telemetry | default dict).disabled }}{{ $keys = append $keys (printf "%stelemetry.disabled" $prefix) }}{{ end }}
{{- if ((.Values.global | default dict).telemetry | default dict).disabled }}{{ $keys = append $keys "global.telemetry.disabled" }}{{ end }}
{{- join "," $keys }}
{{- end }}

{{/* Returns a file of the chart's folder "files". An empty one is a link or a file that the chart's packaging has left out. */}}
{{- define "kamaji-telemetry-agent.file" -}}
{{- $path := printf "files/%s" .name }}
{{- $content := .context.Files.Get $path }}
{{- if not (trim $content) }}
{{- fail (printf "%s is missing in this copy of the chart, or empty: take the complete chart, from its registry or from a checkout" $path) }}
{{- end }}
{{- $content }}
{{- end }}

{{/*
Sets each value that is missing, null or blank to its default in files/values.yaml, which is a copy of values.yaml. Helm replaces
values.yaml itself by that of the last release with --reuse-values, where newer values are missing, and null removes a default.
*/}}
{{- define "kamaji-telemetry-agent.setDefaults" -}}
{{- $defaults := include "kamaji-telemetry-agent.file" (dict "context" . "name" "values.yaml") | fromYaml }}
{{- include "kamaji-telemetry-agent.fill" (dict "values" .Values "defaults" (omit $defaults "global")) }}
{{- end }}

{{/* Returns the maps with defaults that null removes, as in `resources.limits: null`. The schema does not describe what is in them. */}}
{{- define "kamaji-telemetry-agent.freeMaps" -}}
resources,podSecurityContext
{{- end }}

{{/* Completes the map "values" from the map "defaults". */}}
{{- define "kamaji-telemetry-agent.fill" -}}
{{- $values := .values }}
{{- range $key, $default := .defaults }}
{{- $value := get $values $key }}
{{- $isFree := has $key (include "kamaji-telemetry-agent.freeMaps" . | splitList ",") }}
{{- /* Without its digest an image is that of its tag, and without its registry the repository begins with one. */}}
{{- $isBlank := and (kindIs "string" $value) (eq (toString $value) "") (not (has $key (list "digest" "registry"))) }}
{{- if or (not (hasKey $values $key)) (kindIs "invalid" $value) $isBlank }}
{{- $_ := set $values $key (ternary dict $default $isFree) }}
{{- else if and (kindIs "map" $value) (not $isFree) }}
{{- include "kamaji-telemetry-agent.fill" (dict "values" $value "defaults" $default) }}
{{- end }}
{{- end }}
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

{{/* Returns "true" if the pod has the relay. While telemetry is off it has none. */}}
{{- define "kamaji-telemetry-agent.hasRelay" -}}
{{- if and (eq (include "kamaji-telemetry-agent.mode" .) "on") .Values.relay.enabled }}true{{ end }}
{{- end }}

{{/* Returns the number of replicas. While telemetry is off one is enough to delete the state. */}}
{{- define "kamaji-telemetry-agent.replicas" -}}
{{ ternary .Values.replicas 1 (eq (include "kamaji-telemetry-agent.mode" .) "on") }}
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

{{/* Returns the chart's own labels of every object. The name of the chart is not .Chart.Name, which is the alias of a dependency. */}}
{{- define "kamaji-telemetry-agent.ownLabels" -}}
{{- $own := include "kamaji-telemetry-agent.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "app.kubernetes.io/part-of" "kamaji" }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" (include "kamaji-telemetry-agent.name" .) .Chart.Version | replace "+" "_") }}
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

{{/*
Returns the reference of "image": with its digest, else with its tag, else with the default "tag". The digest of "default" is that
of the default's own repository and tag, and no other's.
*/}}
{{- define "kamaji-telemetry-agent.image" -}}
{{- $image := .image -}}
{{- $default := .default | default dict -}}
{{- $isDefaultDigest := and $image.digest (eq (toString $image.digest) (toString $default.digest)) -}}
{{- if and $isDefaultDigest (ne (toJson (pick $image "registry" "repository" "tag")) (toJson (pick $default "registry" "repository" "tag"))) -}}
{{- $image = omit $image "digest" -}}
{{- end -}}
{{- with (.context.Values.global | default dict).imageRegistry | default $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
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
