{{/* Where the store is, in both pods. What SQLite sorts on disk stays on the same volume: the root can't be written. */}}
{{- define "kamaji-telemetry-backend.storeVariables" -}}
- name: KAMAJI_TELEMETRY_STORE
  value: sqlite:/var/lib/kamaji-telemetry/telemetry.db
- name: SQLITE_TMPDIR
  value: /var/lib/kamaji-telemetry
- name: KAMAJI_TELEMETRY_LOG_FORMAT
  value: {{ .Values.logFormat | quote }}
{{- end }}

{{/* Of every container. */}}
{{- define "kamaji-telemetry-backend.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{/* What both pods have. */}}
{{- define "kamaji-telemetry-backend.podSpec" -}}
serviceAccountName: {{ include "kamaji-telemetry-backend.serviceAccount" . | quote }}
automountServiceAccountToken: false
# A Service's name could make a variable that is taken for a setting.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Settings are variables, so that the commands that are run in the container see them too. */}}
{{- define "kamaji-telemetry-backend.variables" -}}
{{- $limits := .Values.limits -}}
{{- include "kamaji-telemetry-backend.storeVariables" . }}
- name: KAMAJI_TELEMETRY_GRPC_ADDR
  value: {{ printf "%s:24317" .Values.listenAddress | quote }}
- name: KAMAJI_TELEMETRY_HTTP_ADDR
  value: {{ printf "%s:24318" .Values.listenAddress | quote }}
- name: KAMAJI_TELEMETRY_HEALTH_ADDR
  value: {{ printf "%s:8080" .Values.listenAddress | quote }}
- name: KAMAJI_TELEMETRY_RETENTION_EVENTS
  value: {{ .Values.retention.events | quote }}
- name: KAMAJI_TELEMETRY_RETENTION_INSTALLATIONS
  value: {{ .Values.retention.installations | quote }}
- name: KAMAJI_TELEMETRY_RETENTION_AUDIT_LOG
  value: {{ .Values.retention.auditLog | quote }}
- name: KAMAJI_TELEMETRY_RETENTION_INTERVAL
  value: {{ .Values.retention.interval | quote }}
# Helm reads numbers as floating ones, which would print a million as 1e+06.
- name: KAMAJI_TELEMETRY_RATE_LIMIT_REQUESTS
  value: {{ $rateLimit.requests | int64 | quote }}
- name: KAMAJI_TELEMETRY_RATE_LIMIT_ITEMS
  value: {{ $rateLimit.items | int64 | quote }}
- name: KAMAJI_TELEMETRY_RATE_LIMIT_ITEMS_PER_DAY
  value: {{ $rateLimit.itemsPerDay | int64 | quote }}
- name: KAMAJI_TELEMETRY_RATE_LIMIT_SNAPSHOTS
  value: {{ $rateLimit.snapshots | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_CONNECTIONS
  value: {{ $maxConnections | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_CONNECTIONS_PER_CLIENT
  value: {{ $maxConnectionsPerClient | int64 | quote }}
{{- with .Values.trustedProxies }}
- name: KAMAJI_TELEMETRY_TRUSTED_PROXY
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.publicUrl }}
- name: KAMAJI_TELEMETRY_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
{{- if include "kamaji-telemetry-backend.tlsSecret" . }}
- name: KAMAJI_TELEMETRY_TLS_CERT
  value: /etc/kamaji-telemetry/tls/tls.crt
- name: KAMAJI_TELEMETRY_TLS_KEY
  value: /etc/kamaji-telemetry/tls/tls.key
{{- end }}
{{- if .Values.auth.ingestTokensSecret.name }}
- name: KAMAJI_TELEMETRY_INGEST_TOKEN_FILE
  value: /etc/kamaji-telemetry/ingest/tokens
{{- end }}
{{- if .Values.auth.readerTokensSecret.name }}
- name: KAMAJI_TELEMETRY_READER_TOKEN_FILE
  value: /etc/kamaji-telemetry/access/readers
{{- end }}
{{- end }}

{{/* Folders rather than single files, so that a change of a Secret arrives. */}}
{{- define "kamaji-telemetry-backend.mounts" -}}
- name: store
  mountPath: /var/lib/kamaji-telemetry
{{- if include "kamaji-telemetry-backend.tlsSecret" . }}
- name: tls
  mountPath: /etc/kamaji-telemetry/tls
  readOnly: true
{{- end }}
{{- if .Values.auth.ingestTokensSecret.name }}
- name: ingest
  mountPath: /etc/kamaji-telemetry/ingest
  readOnly: true
{{- end }}
{{- if .Values.auth.readerTokensSecret.name }}
- name: access
  mountPath: /etc/kamaji-telemetry/access
  readOnly: true
{{- end }}
{{- end }}

{{- define "kamaji-telemetry-backend.volumes" -}}
- name: store
  persistentVolumeClaim:
    claimName: {{ include "kamaji-telemetry-backend.storeClaim" . | quote }}
{{- if .Values.backup.enabled }}
# Of a backup's pod, and not mounted here. A volume that waits for the first pod to use it is made for this one: at once,
# which `helm install --wait` waits for, and where the store's is.
- name: backups
  persistentVolumeClaim:
    claimName: {{ include "kamaji-telemetry-backend.backupClaim" . | quote }}
{{- end }}
{{- with include "kamaji-telemetry-backend.tlsSecret" . }}
- name: tls
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- with .Values.auth.ingestTokensSecret }}
{{- if .name }}
- name: ingest
  secret:
    secretName: {{ .name | quote }}
    items:
      - key: {{ .key | quote }}
        path: tokens
{{- end }}
{{- end }}
{{- with .Values.auth.readerTokensSecret }}
{{- if .name }}
- name: access
  secret:
    secretName: {{ .name | quote }}
    items:
      - key: {{ .key | quote }}
        path: readers
{{- end }}
{{- end }}
{{- end }}
