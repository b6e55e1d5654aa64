{{/*
Returns the agent's container. Settings are environment variables rather than arguments, so that commands run with
`kubectl exec` use them too.
*/}}
{{- define "kamaji-telemetry-agent.agent" -}}
- name: agent
  image: {{ include "kamaji-telemetry-agent.image" (dict "image" .Values.image "tag" .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - agent
    {{- range .Values.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    - name: KAMAJI_TELEMETRY_OWNER_DEPLOYMENT
      value: {{ include "kamaji-telemetry-agent.name" . }}
    - name: KAMAJI_TELEMETRY_HEALTH_ADDR
      value: {{ printf "%s:8080" .Values.listenAddress | quote }}
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
    {{- if gt (int .Values.replicas) 1 }}
    - name: KAMAJI_TELEMETRY_LEADER_ELECT
      value: "true"
    - name: KAMAJI_TELEMETRY_LEASE_DURATION
      value: {{ .Values.leaseDuration | quote }}
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    {{- end }}
    {{- include "kamaji-telemetry-agent.agentCollector" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 8080
  livenessProbe:
    httpGet:
      path: /livez
      port: http
  readinessProbe:
    httpGet:
      path: /readyz
      port: http
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "kamaji-telemetry-agent.securityContext" . | nindent 4 }}
  volumeMounts:
    - name: token
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
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
{{- end }}

{{/* Returns the environment variables for the collector: the relay, or the operator's own. */}}
{{- define "kamaji-telemetry-agent.agentCollector" -}}
{{- $otlp := .Values.otlp -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ ternary "http://127.0.0.1:4317" $otlp.endpoint .Values.relay.enabled | quote }}
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

{{/* Returns the agent's volumes. Only the agent mounts the service account's token; the relay needs none. */}}
{{- define "kamaji-telemetry-agent.agentVolumes" -}}
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
{{- end }}
