{{/*
Every object has this name. It is no release's, so that senders and commands know it: a second backend belongs in another
namespace, and Helm refuses it in this one.
*/}}
{{- define "kamaji-telemetry-backend.name" -}}
kamaji-telemetry-backend
{{- end }}

{{- define "kamaji-telemetry-backend.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kamaji-telemetry-backend.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Of the backend's pod alone: a backup's serves nothing. */}}
{{- define "kamaji-telemetry-backend.serverLabels" -}}
{{ include "kamaji-telemetry-backend.selectorLabels" . }}
app.kubernetes.io/component: backend
{{- end }}

{{- define "kamaji-telemetry-backend.backupLabels" -}}
{{ include "kamaji-telemetry-backend.selectorLabels" . }}
app.kubernetes.io/component: backup
{{- end }}

{{/* Of every object. Ours win: others' must not select it. */}}
{{- define "kamaji-telemetry-backend.labels" -}}
{{- $ours := include "kamaji-telemetry-backend.selectorLabels" . | fromYaml }}
{{- $_ := set $ours "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "kamaji" }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) $ours) }}
{{- end }}

{{/* Name, labels and annotations of an object: "root", and where it has them "suffix", "labels" and "annotations". */}}
{{- define "kamaji-telemetry-backend.metadata" -}}
{{- $ours := include "kamaji-telemetry-backend.labels" .root | fromYaml -}}
name: {{ include "kamaji-telemetry-backend.name" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- toYaml (mergeOverwrite (deepCopy (.labels | default dict)) $ours) | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.extraAnnotations) (deepCopy (.annotations | default dict)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kamaji-telemetry-backend.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "kamaji-telemetry-backend.name" .) }}
{{- end }}

{{/* The image by its digest, else by its tag. */}}
{{- define "kamaji-telemetry-backend.image" -}}
{{- $image := .Values.image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "kamaji-telemetry-backend.storeClaim" -}}
{{ .Values.store.sqlite.persistence.existingClaim | default (include "kamaji-telemetry-backend.name" .) }}
{{- end }}

{{- define "kamaji-telemetry-backend.backupClaim" -}}
{{ .Values.backup.persistence.existingClaim | default (printf "%s-backup" (include "kamaji-telemetry-backend.name" .)) }}
{{- end }}

{{/* The Secret of the certificate; empty where there is no TLS. */}}
{{- define "kamaji-telemetry-backend.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "kamaji-telemetry-backend.name" . }}-tls
{{- else }}{{ .Values.tls.existingSecret }}
{{- end }}
{{- end }}

{{/* A claim's specification and whether it stays, of its values. */}}
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

{{- define "kamaji-telemetry-backend.claimAnnotations" -}}
{{- $keep := dict }}
{{- if .keep }}{{ $_ := set $keep "helm.sh/resource-policy" "keep" }}{{ end }}
{{- toYaml (mergeOverwrite (deepCopy .annotations) $keep) }}
{{- end }}
