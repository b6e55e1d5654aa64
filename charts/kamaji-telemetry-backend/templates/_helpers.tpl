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

{{/* Returns the labels of the backend's pod. The backup's pod must not match them, because it serves nothing. */}}
{{- define "kamaji-telemetry-backend.serverLabels" -}}
{{ include "kamaji-telemetry-backend.selectorLabels" . }}
app.kubernetes.io/component: backend
{{- end }}

{{- define "kamaji-telemetry-backend.backupLabels" -}}
{{ include "kamaji-telemetry-backend.selectorLabels" . }}
app.kubernetes.io/component: backup
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

{{/* Returns name, labels and annotations of an object of "root", with an optional "suffix", "labels" and "annotations". */}}
{{- define "kamaji-telemetry-backend.metadata" -}}
{{- $own := include "kamaji-telemetry-backend.labels" .root | fromYaml -}}
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
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "kamaji-telemetry-backend.storeClaim" -}}
{{ .Values.store.sqlite.persistence.existingClaim | default (include "kamaji-telemetry-backend.name" .) }}
{{- end }}

{{- define "kamaji-telemetry-backend.backupClaim" -}}
{{ .Values.backup.persistence.existingClaim | default (printf "%s-backup" (include "kamaji-telemetry-backend.name" .)) }}
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
