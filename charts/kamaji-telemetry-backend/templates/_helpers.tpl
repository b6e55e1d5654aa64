{{/*
Returns the name of every object, or its prefix. It does not depend on the release, so that the address for senders and the
documented commands are fixed. A second backend needs another namespace; Helm refuses it in the same one.
*/}}
{{- define "kamaji-telemetry-backend.name" -}}
kamaji-telemetry-backend
{{- end }}

{{- define "kamaji-telemetry-backend.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kamaji-telemetry-backend.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Returns the labels of the backend's pod. No other pod may match them, because none serves anything. */}}
{{- define "kamaji-telemetry-backend.serverLabels" -}}
{{ include "kamaji-telemetry-backend.selectorLabels" . }}
app.kubernetes.io/component: backend
{{- end }}

{{/* Returns the number of replicas of a Deployment, out of maintenance. */}}
{{- define "kamaji-telemetry-backend.replicas" -}}
{{ .Values.replicas | default 2 | int64 }}
{{- end }}

{{/* Returns the labels of another pod of "root", of a "component". */}}
{{- define "kamaji-telemetry-backend.componentLabels" -}}
{{ include "kamaji-telemetry-backend.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/*
Returns the labels of every object. The chart's own take precedence over added ones, which must not make an object match
another selector.
*/}}
{{- define "kamaji-telemetry-backend.labels" -}}
{{- $own := include "kamaji-telemetry-backend.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "app.kubernetes.io/part-of" "kamaji" }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) $own) }}
{{- end }}

{{/*
Returns name, labels and annotations of an object of "root", with an optional "suffix", "component", "labels" and
"annotations".
*/}}
{{- define "kamaji-telemetry-backend.metadata" -}}
{{- $own := include "kamaji-telemetry-backend.labels" .root | fromYaml -}}
{{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
name: {{ include "kamaji-telemetry-backend.name" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- toYaml (mergeOverwrite (deepCopy (.labels | default dict)) $own) | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.extraAnnotations) (deepCopy (.annotations | default dict)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kamaji-telemetry-backend.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "kamaji-telemetry-backend.name" .) }}
{{- end }}

{{/* Returns the reference of the image: with its digest, else with its tag. */}}
{{- define "kamaji-telemetry-backend.image" -}}
{{- $image := .Values.image -}}
{{- with (.Values.global | default dict).imageRegistry | default $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Returns "true" if the store is in PostgreSQL, and nothing if it is in a file of SQLite. */}}
{{- define "kamaji-telemetry-backend.isPostgres" -}}
{{- with .Values.store.postgres }}{{ if or .address .existingSecret }}true{{ end }}{{ end }}
{{- end }}

{{/* Returns the workload of the backend, as kubectl takes it. */}}
{{- define "kamaji-telemetry-backend.workload" -}}
{{ ternary "deploy" "sts" (ne (include "kamaji-telemetry-backend.isPostgres" .) "") }}/{{ include "kamaji-telemetry-backend.name" . }}
{{- end }}

{{/* Returns the ports of PostgreSQL's servers in the address, as YAML: 5432 where it names none. */}}
{{- define "kamaji-telemetry-backend.postgresPorts" -}}
{{- $hosts := regexReplaceAll "^postgres(ql)?://([^@/]*@)?([^/?]*).*$" .Values.store.postgres.address "${3}" }}
{{- $ports := list }}
{{- range splitList "," $hosts }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "5432" | int64) }}
{{- end }}
{{- toYaml (uniq $ports) }}
{{- end }}

{{- define "kamaji-telemetry-backend.storeClaim" -}}
{{ .Values.store.sqlite.persistence.existingClaim | default (include "kamaji-telemetry-backend.name" .) }}
{{- end }}

{{- define "kamaji-telemetry-backend.backupClaim" -}}
{{ .Values.backup.persistence.existingClaim | default (printf "%s-backup" (include "kamaji-telemetry-backend.name" .)) }}
{{- end }}

{{/*
Returns the suffix of the name of a Job that restores a file: the file's name, in characters that a name may have, and a checksum
that keeps two files apart which have the same ones. A name of a Job has 63 characters at most.
*/}}
{{- define "kamaji-telemetry-backend.restoreSuffix" -}}
-restore-{{ lower . | trimSuffix ".db" | trimPrefix "telemetry-" | replace "." "-" | replace "_" "-" | trunc 17 | trimSuffix "-" }}-{{ sha256sum . | trunc 4 }}
{{- end }}

{{/* Returns the name of the Secret with the certificate; empty without TLS. */}}
{{- define "kamaji-telemetry-backend.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "kamaji-telemetry-backend.name" . }}-tls
{{- else }}{{ .Values.tls.existingSecret }}
{{- end }}
{{- end }}

{{/* Returns the specification of a claim with the given values. */}}
{{- define "kamaji-telemetry-backend.claimSpec" -}}
accessModes:
  {{- toYaml .accessModes | nindent 2 }}
{{- with .storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}

{{/* Returns the annotations of a claim with the given values. */}}
{{- define "kamaji-telemetry-backend.claimAnnotations" -}}
{{- $policy := dict }}
{{- if .keepOnUninstall }}{{ $_ := set $policy "helm.sh/resource-policy" "keep" }}{{ end }}
{{- toYaml (mergeOverwrite (deepCopy .annotations) $policy) }}
{{- end }}
