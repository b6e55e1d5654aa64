{{/*
Returns the agent's container. Settings are environment variables rather than arguments, so that commands run with
`kubectl exec` use them too.
*/}}
{{- define "kamaji-telemetry-agent.agent" -}}
- name: agent
  {{- include "kamaji-telemetry-agent.agentImage" . | nindent 2 }}
  args:
    - agent
    {{- range .Values.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    {{- include "kamaji-telemetry-agent.agentSettings" . | nindent 4 }}
    {{- if eq (include "kamaji-telemetry-agent.mode" .) "on" }}
    {{- include "kamaji-telemetry-agent.agentCollector" . | nindent 4 }}
    {{- end }}
    - name: KAMAJI_TELEMETRY_OWNER_DEPLOYMENT
      value: {{ include "kamaji-telemetry-agent.name" . }}
    - name: KAMAJI_TELEMETRY_HEALTH_ADDR
      value: {{ printf "%s:8080" .Values.listenAddress | quote }}
    {{- if gt (int (include "kamaji-telemetry-agent.replicas" .)) 1 }}
    - name: KAMAJI_TELEMETRY_LEADER_ELECT
      value: "true"
    - name: KAMAJI_TELEMETRY_LEASE_DURATION
      value: {{ .Values.leaseDuration | quote }}
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    {{- end }}
    {{- with include "kamaji-telemetry-agent.agentEnv" . | fromYamlArray }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 8080
  # Begins a second after the start, when the agent listens: a probe before that is a Warning event. The readiness is probed as
  # soon as this has succeeded.
  startupProbe:
    httpGet:
      path: /livez
      port: http
    initialDelaySeconds: 1
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet:
      path: /livez
      port: http
    # The agent ends within 5 s of a signal. A frozen one never does, and would be waited for half a minute.
    terminationGracePeriodSeconds: 6
  # The agent is ready after its first list of the TenantControlPlanes, which takes a second or two in a large cluster.
  readinessProbe:
    httpGet:
      path: /readyz
      port: http
    periodSeconds: 2
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "kamaji-telemetry-agent.securityContext" . | nindent 4 }}
  volumeMounts:
    - name: token
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- if eq (include "kamaji-telemetry-agent.mode" .) "on" }}
    {{- if .Values.otlp.headersSecret.name }}
    - name: headers
      mountPath: /etc/kamaji-telemetry/headers
      readOnly: true
    {{- end }}
    {{- if or .Values.otlp.caSecret.name (include "kamaji-telemetry-agent.relayCa" .) }}
    - name: ca
      mountPath: /etc/kamaji-telemetry/ca
      readOnly: true
    {{- end }}
    {{- if .Values.otlp.clientCertificateSecret }}
    - name: client
      mountPath: /etc/kamaji-telemetry/client
      readOnly: true
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
{{- end }}

{{/* Returns the image of the agent's container. */}}
{{- define "kamaji-telemetry-agent.agentImage" -}}
image: {{ include "kamaji-telemetry-agent.image" (dict "context" . "image" .Values.image "tag" .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{/* Returns the environment variables that every command of the agent reads. */}}
{{- define "kamaji-telemetry-agent.agentSettings" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- if eq (include "kamaji-telemetry-agent.mode" .) "off" }}
- name: KAMAJI_TELEMETRY_DISABLE_TELEMETRY
  value: "true"
{{- end }}
{{- /* glibc gives freed memory back, such as that of a list. Without this it raises its thresholds after the first large buffer. */}}
- name: MALLOC_TOP_PAD_
  value: "65536"
- name: KAMAJI_TELEMETRY_LOG_FORMAT
  value: {{ .Values.logFormat | quote }}
- name: KAMAJI_TELEMETRY_EXPORT_INTERVAL
  value: {{ .Values.telemetry.exportInterval | quote }}
- name: KAMAJI_TELEMETRY_EXTENDED
  value: {{ .Values.telemetry.extended | quote }}
- name: KAMAJI_TELEMETRY_FOLLOW_KAMAJI_OPT_OUT
  value: {{ .Values.telemetry.followKamajiOptOut | quote }}
- name: KAMAJI_TELEMETRY_KAMAJI_NAMESPACE
  value: {{ include "kamaji-telemetry-agent.kamajiNamespace" . | quote }}
{{- with .Values.telemetry.kamajiDeployment }}
- name: KAMAJI_TELEMETRY_KAMAJI_DEPLOYMENT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.telemetry.kamajiVersion }}
- name: KAMAJI_TELEMETRY_KAMAJI_VERSION
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/*
Returns extraEnv. While telemetry is off it is without the variable that the chart sets then, and without what comes from other
objects: those of extraObjects are not rendered then, and without them the pod that deletes the state would not start.
*/}}
{{- define "kamaji-telemetry-agent.agentEnv" -}}
{{- $isOff := eq (include "kamaji-telemetry-agent.mode" .) "off" }}
{{- $variables := list }}
{{- range .Values.extraEnv }}
{{- if not (and $isOff (or .valueFrom (eq .name "KAMAJI_TELEMETRY_DISABLE_TELEMETRY"))) }}{{ $variables = append $variables . }}{{ end }}
{{- end }}
{{- toYaml $variables }}
{{- end }}

{{/* Returns the URL of the collector: the relay's, or that of the operator's own. */}}
{{- define "kamaji-telemetry-agent.collector" -}}
{{ ternary "http://127.0.0.1:4317" .Values.otlp.endpoint .Values.relay.enabled }}
{{- end }}

{{/* Returns the environment variables for the collector: the relay, or the operator's own. */}}
{{- define "kamaji-telemetry-agent.agentCollector" -}}
{{- $otlp := .Values.otlp -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ include "kamaji-telemetry-agent.collector" . | quote }}
{{- if $otlp.headersSecret.name }}
- name: KAMAJI_TELEMETRY_HEADERS_FILE
  value: /etc/kamaji-telemetry/headers/headers
{{- end }}
{{- if include "kamaji-telemetry-agent.relayCa" . }}
- name: KAMAJI_TELEMETRY_RELAY_CA_FILE
  value: /etc/kamaji-telemetry/ca/ca.crt
{{- end }}
{{- if $otlp.caSecret.name }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/kamaji-telemetry/ca/ca.crt
{{- end }}
{{- if $otlp.clientCertificateSecret }}
- name: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE
  value: /etc/kamaji-telemetry/client/tls.crt
- name: OTEL_EXPORTER_OTLP_CLIENT_KEY
  value: /etc/kamaji-telemetry/client/tls.key
{{- end }}
{{- end }}

{{/* Returns the volume with the service account's token. */}}
{{- define "kamaji-telemetry-agent.tokenVolume" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: token
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}

{{/* Returns the agent's volumes. Only the agent mounts the service account's token; the relay needs none. */}}
{{- define "kamaji-telemetry-agent.agentVolumes" -}}
{{ include "kamaji-telemetry-agent.tokenVolume" . }}
{{- if eq (include "kamaji-telemetry-agent.mode" .) "on" }}
{{- if .Values.otlp.headersSecret.name }}
- name: headers
  secret:
    secretName: {{ .Values.otlp.headersSecret.name | quote }}
    items:
      - key: {{ .Values.otlp.headersSecret.key | quote }}
        path: headers
{{- end }}
{{- if .Values.otlp.caSecret.name }}
- name: ca
  secret:
    secretName: {{ .Values.otlp.caSecret.name | quote }}
    items:
      - key: {{ .Values.otlp.caSecret.key | quote }}
        path: ca.crt
{{- end }}
{{- with .Values.otlp.clientCertificateSecret }}
- name: client
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
