{{/*
Returns the environment variables of all pods that open the store. SQLite's temporary files are on the store's volume, because the root file
system is read-only.
*/}}
{{- define "kamaji-telemetry-backend.storeVariables" -}}
{{- if include "kamaji-telemetry-backend.isPostgres" . }}
{{- with .Values.store.postgres -}}
- name: KAMAJI_TELEMETRY_STORE
  value: {{ .address | quote }}
- name: KAMAJI_TELEMETRY_STORE_PASSWORD_FILE
  value: /etc/kamaji-telemetry/store/password
{{- if .caSecret.name }}
- name: KAMAJI_TELEMETRY_STORE_CA_FILE
  value: /etc/kamaji-telemetry/store-ca/ca.crt
{{- end }}
- name: KAMAJI_TELEMETRY_STORE_REQUIRE_STANDBY
  value: {{ .requireStandby | quote }}
{{- end }}
{{- else -}}
- name: KAMAJI_TELEMETRY_STORE
  value: sqlite:/var/lib/kamaji-telemetry/telemetry.db
- name: SQLITE_TMPDIR
  value: /var/lib/kamaji-telemetry
{{- end }}
- name: KAMAJI_TELEMETRY_LOG_FORMAT
  value: {{ .Values.logFormat | quote }}
{{- end }}

{{/* Returns the security context of every container. */}}
{{- define "kamaji-telemetry-backend.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{/* Returns the part of the pod specification that all pods share. */}}
{{- define "kamaji-telemetry-backend.podSpec" -}}
serviceAccountName: {{ include "kamaji-telemetry-backend.serviceAccount" . | quote }}
automountServiceAccountToken: false
# Variables of Services could be taken for settings: a Service kamaji-telemetry-x becomes KAMAJI_TELEMETRY_X_….
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Returns the pod template of a Job of "root". Its "component" is also the name of its container, which runs with "args" and
"resources". "affinity" is podAffinity, for the node of the backend, or podAntiAffinity, for any other. "store" mounts the
store beside the backups.
*/}}
{{- define "kamaji-telemetry-backend.jobTemplate" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
metadata:
  labels:
    {{- $own := include "kamaji-telemetry-backend.componentLabels" . | fromYaml }}
    {{- toYaml (mergeOverwrite (deepCopy $values.extraLabels) $own) | nindent 4 }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "kamaji-telemetry-backend.podSpec" $root | nindent 2 }}
  restartPolicy: Never
  affinity:
    {{- /* The store's volume may be created where this pod runs, so that it has to be where the backend may run. */}}
    {{- with ($values.affinity | default dict).nodeAffinity }}
    nodeAffinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{ .affinity }}:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "kamaji-telemetry-backend.serverLabels" $root | nindent 14 }}
  containers:
    - name: {{ .component }}
      image: {{ include "kamaji-telemetry-backend.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      {{- if .store }}
      env:
        {{- include "kamaji-telemetry-backend.storeVariables" $root | nindent 8 }}
      {{- end }}
      {{- with .resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "kamaji-telemetry-backend.securityContext" $root | nindent 8 }}
      volumeMounts:
        {{- if .store }}
        # Not read-only: a reader of SQLite's WAL writes to the shared-memory file.
        - name: store
          mountPath: /var/lib/kamaji-telemetry
        {{- end }}
        - name: backups
          mountPath: /backups
  volumes:
    {{- if .store }}
    - name: store
      persistentVolumeClaim:
        claimName: {{ include "kamaji-telemetry-backend.storeClaim" $root | quote }}
    {{- end }}
    - name: backups
      persistentVolumeClaim:
        claimName: {{ include "kamaji-telemetry-backend.backupClaim" $root | quote }}
{{- end }}

{{/* Returns the resources of a container that ends at once. */}}
{{- define "kamaji-telemetry-backend.smallResources" -}}
requests:
  cpu: 10m
  memory: 16Mi
limits:
  memory: 64Mi
{{- end }}

{{/*
Returns the environment variables of the backend. Settings are variables rather than arguments, so that commands run with
`kubectl exec` use them too.
*/}}
{{- define "kamaji-telemetry-backend.variables" -}}
{{- $rateLimit := .Values.rateLimit -}}
{{- include "kamaji-telemetry-backend.storeVariables" . }}
- name: KAMAJI_TELEMETRY_GRPC_ADDR
  value: {{ printf "%s:4317" .Values.listenAddress | quote }}
- name: KAMAJI_TELEMETRY_HTTP_ADDR
  value: {{ printf "%s:4318" .Values.listenAddress | quote }}
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
# int64, because Helm decodes numbers as floats, which would print a million as 1e+06.
- name: KAMAJI_TELEMETRY_RATE_LIMIT_REQUESTS
  value: {{ $rateLimit.requests | int64 | quote }}
- name: KAMAJI_TELEMETRY_RATE_LIMIT_ITEMS
  value: {{ $rateLimit.items | int64 | quote }}
- name: KAMAJI_TELEMETRY_RATE_LIMIT_BYTES_PER_DAY
  value: {{ $rateLimit.bytesPerDay | int64 | quote }}
- name: KAMAJI_TELEMETRY_RATE_LIMIT_SNAPSHOTS
  value: {{ $rateLimit.snapshots | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_COUNTED_INSTALLATIONS
  value: {{ .Values.maxCountedInstallations | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_COUNTED_EVENTS
  value: {{ .Values.maxCountedEvents | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_NEW_INSTALLATIONS
  value: {{ .Values.maxNewInstallations | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_BULK_EVENTS
  value: {{ .Values.maxBulkEvents | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_VALUES
  value: {{ .Values.maxValues | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_STORE_SIZE
  value: {{ if kindIs "string" .Values.maxStoreSize }}{{ .Values.maxStoreSize | quote }}{{ else }}{{ .Values.maxStoreSize | int64 | quote }}{{ end }}
- name: KAMAJI_TELEMETRY_MIN_VERSION_INSTALLATIONS
  value: {{ .Values.minVersionInstallations | int64 | quote }}
- name: KAMAJI_TELEMETRY_PUBLIC_PAGE
  value: {{ .Values.publicPage.enabled | quote }}
- name: KAMAJI_TELEMETRY_MAX_CONNECTIONS
  value: {{ .Values.maxConnections | int64 | quote }}
- name: KAMAJI_TELEMETRY_MAX_CONNECTIONS_PER_CLIENT
  value: {{ .Values.maxConnectionsPerClient | int64 | quote }}
{{- with .Values.trustedProxies }}
- name: KAMAJI_TELEMETRY_TRUSTED_PROXY
  value: {{ join "," . | quote }}
- name: KAMAJI_TELEMETRY_TRUSTED_HEADER
  value: {{ $.Values.trustedHeader | quote }}
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
  value: /etc/kamaji-telemetry/ingest-tokens/tokens
{{- end }}
{{- if .Values.auth.readerTokensSecret.name }}
- name: KAMAJI_TELEMETRY_READER_TOKEN_FILE
  value: /etc/kamaji-telemetry/reader-tokens/readers
{{- end }}
{{- end }}

{{/*
Returns the volume mounts of the backend. Secrets are mounted as directories: a single file, with subPath, would not follow
changes of the Secret.
*/}}
{{- define "kamaji-telemetry-backend.mounts" -}}
{{- if include "kamaji-telemetry-backend.isPostgres" . -}}
- name: store-password
  mountPath: /etc/kamaji-telemetry/store
  readOnly: true
{{- if .Values.store.postgres.caSecret.name }}
- name: store-ca
  mountPath: /etc/kamaji-telemetry/store-ca
  readOnly: true
{{- end }}
{{- else -}}
- name: store
  mountPath: /var/lib/kamaji-telemetry
{{- end }}
{{- if include "kamaji-telemetry-backend.tlsSecret" . }}
- name: tls
  mountPath: /etc/kamaji-telemetry/tls
  readOnly: true
{{- end }}
{{- if .Values.auth.ingestTokensSecret.name }}
- name: ingest-tokens
  mountPath: /etc/kamaji-telemetry/ingest-tokens
  readOnly: true
{{- end }}
{{- if .Values.auth.readerTokensSecret.name }}
- name: reader-tokens
  mountPath: /etc/kamaji-telemetry/reader-tokens
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Returns the mode of files of secrets: 0440, for root and the pod's fsGroup alone. */}}
{{- define "kamaji-telemetry-backend.secretMode" -}}
288
{{- end }}

{{/* Returns the volumes of the backend's pod. */}}
{{- define "kamaji-telemetry-backend.volumes" -}}
{{- if include "kamaji-telemetry-backend.isPostgres" . }}
{{- with .Values.store.postgres -}}
- name: store-password
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: {{ include "kamaji-telemetry-backend.secretMode" . }}
    items:
      - key: {{ .passwordKey | quote }}
        path: password
{{- with .caSecret }}
{{- if .name }}
- name: store-ca
  secret:
    secretName: {{ .name | quote }}
    defaultMode: {{ include "kamaji-telemetry-backend.secretMode" . }}
    items:
      - key: {{ .key | quote }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- else -}}
- name: store
  persistentVolumeClaim:
    claimName: {{ include "kamaji-telemetry-backend.storeClaim" . | quote }}
{{- end }}
{{- with include "kamaji-telemetry-backend.tlsSecret" . }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: {{ include "kamaji-telemetry-backend.secretMode" . }}
{{- end }}
{{- with .Values.auth.ingestTokensSecret }}
{{- if .name }}
- name: ingest-tokens
  secret:
    secretName: {{ .name | quote }}
    defaultMode: {{ include "kamaji-telemetry-backend.secretMode" . }}
    items:
      - key: {{ .key | quote }}
        path: tokens
{{- end }}
{{- end }}
{{- with .Values.auth.readerTokensSecret }}
{{- if .name }}
- name: reader-tokens
  secret:
    secretName: {{ .name | quote }}
    defaultMode: {{ include "kamaji-telemetry-backend.secretMode" . }}
    items:
      - key: {{ .key | quote }}
        path: readers
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Returns the pod template of the backend. */}}
{{- define "kamaji-telemetry-backend.podTemplate" -}}
metadata:
  labels:
    {{- $own := include "kamaji-telemetry-backend.serverLabels" . | fromYaml }}
    {{- toYaml (mergeOverwrite (deepCopy .Values.extraLabels) (deepCopy .Values.podLabels) $own) | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "kamaji-telemetry-backend.podSpec" . | nindent 2 }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if include "kamaji-telemetry-backend.isPostgres" . }}
  # On different nodes where there are some.
  topologySpreadConstraints:
    - topologyKey: kubernetes.io/hostname
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "kamaji-telemetry-backend.serverLabels" . | nindent 10 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  containers:
    - name: backend
      image: {{ include "kamaji-telemetry-backend.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - backend
        - serve
        {{- range .Values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env:
        {{- include "kamaji-telemetry-backend.variables" . | nindent 8 }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: grpc
          containerPort: 4317
        - name: http
          containerPort: 4318
        - name: health
          containerPort: 8080
      # The backend answers within 0.3 s. A probe before that would leave a Warning event at every start, so the first one is
      # made after 1 s, the shortest delay that Kubernetes has. 30 more are for a node under load.
      startupProbe:
        httpGet:
          path: /livez
          port: health
        initialDelaySeconds: 1
        periodSeconds: 1
        failureThreshold: 30
      # During a migration of the store, which may take minutes, the backend is live but not ready.
      livenessProbe:
        httpGet:
          path: /livez
          port: health
      # The period is what a start waits at most once the store is open; the response is kept in memory. The backend looks at
      # its store every 5 s: 5 failures, so that one slow response takes the pod out of the Service no sooner than that.
      readinessProbe:
        httpGet:
          path: /readyz
          port: health
        periodSeconds: 1
        failureThreshold: 5
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "kamaji-telemetry-backend.securityContext" . | nindent 8 }}
      volumeMounts:
        {{- include "kamaji-telemetry-backend.mounts" . | nindent 8 }}
  volumes:
    {{- include "kamaji-telemetry-backend.volumes" . | nindent 4 }}
{{- end }}
