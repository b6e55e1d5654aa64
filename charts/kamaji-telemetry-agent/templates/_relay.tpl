{{/* Returns the relay's configuration, which sends to the endpoint, or prints in local mode. */}}
{{- define "kamaji-telemetry-agent.relayConfig" -}}
{{- $file := ternary "debug.yaml" "relay.yaml" (eq (include "kamaji-telemetry-agent.local" .) "true") }}
{{- include "kamaji-telemetry-agent.file" (dict "context" . "name" $file) | trimSuffix "\n" }}
{{- end }}

{{/* Returns "true" if the relay presents a token, which it does to a backend only. */}}
{{- define "kamaji-telemetry-agent.relayToken" -}}
{{- if and .Values.relay.tokenSecret.name .Values.telemetry.endpoint }}true{{ end }}
{{- end }}

{{/*
Returns "true" if the relay trusts a CA bundle of its own. The collector reads that only at its start, so the agent answers the
relay's liveness probe, and fails it when the bundle has changed.
*/}}
{{- define "kamaji-telemetry-agent.relayCa" -}}
{{- $ca := .Values.relay.caBundle }}
{{- if and .Values.relay.enabled .Values.telemetry.endpoint (or $ca.configMap $ca.secret) }}true{{ end }}
{{- end }}

{{/*
Returns the relay's container, a native sidecar: it listens before the agent starts, and stops after the agent, which exports
through it until its end.
*/}}
{{- define "kamaji-telemetry-agent.relay" -}}
{{- $relay := .Values.relay -}}
- name: relay
  {{- $defaults := include "kamaji-telemetry-agent.file" (dict "context" . "name" "values.yaml") | fromYaml }}
  image: {{ include "kamaji-telemetry-agent.image" (dict "context" . "image" $relay.image "default" $defaults.relay.image) | quote }}
  imagePullPolicy: {{ $relay.image.pullPolicy }}
  restartPolicy: Always
  args:
    - --config=/etc/kamaji-telemetry/relay/relay.yaml
    {{- if include "kamaji-telemetry-agent.relayToken" . }}
    - --config=/etc/kamaji-telemetry/relay/token.yaml
    {{- end }}
    {{- range $relay.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    - name: RELAY_HEALTH_LISTEN
      value: {{ printf "%s:13133" .Values.listenAddress | quote }}
    {{- include "kamaji-telemetry-agent.relayMemory" . | nindent 4 }}
    {{- with .Values.telemetry.endpoint }}
    - name: RELAY_ENDPOINT
      value: {{ . | quote }}
    {{- end }}
    {{- with $relay.httpsProxy }}
    - name: HTTPS_PROXY
      value: {{ . | quote }}
    {{- end }}
    {{- with $relay.noProxy }}
    - name: NO_PROXY
      value: {{ . | quote }}
    {{- end }}
    {{- if or $relay.caBundle.configMap $relay.caBundle.secret }}
    - name: RELAY_CA_FILE
      value: /etc/kamaji-telemetry/ca/ca.crt
    {{- end }}
    {{- if include "kamaji-telemetry-agent.relayToken" . }}
    - name: RELAY_TOKEN_FILE
      value: /etc/kamaji-telemetry/token/token
    {{- end }}
    {{- if $relay.clientCertificateSecret }}
    - name: RELAY_CERT_FILE
      value: /etc/kamaji-telemetry/client/tls.crt
    - name: RELAY_KEY_FILE
      value: /etc/kamaji-telemetry/client/tls.key
    {{- end }}
    {{- with $relay.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: relay-health
      containerPort: 13133
  # Begins when the collector can answer: a probe before that is a Warning event. The agent starts once it has succeeded.
  startupProbe:
    httpGet:
      port: relay-health
    initialDelaySeconds: 2
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    {{- if include "kamaji-telemetry-agent.relayCa" . }}
    # The agent's port, by number: a name is one of this container.
    httpGet:
      path: /livez/relay
      port: 8080
    # The agent starts after this container, and its image may have to be pulled. A kubelet can't tell an agent that is away from one
    # that reports another bundle: two minutes, so that the relay outlives most of an agent's restarts.
    initialDelaySeconds: 30
    failureThreshold: 12
    {{- else }}
    httpGet:
      port: relay-health
    {{- end }}
    # The relay keeps nothing that it would have to finish.
    terminationGracePeriodSeconds: 6
  {{- with $relay.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "kamaji-telemetry-agent.securityContext" . | nindent 4 }}
  volumeMounts:
    - name: relay
      mountPath: /etc/kamaji-telemetry/relay
      readOnly: true
    {{- if or $relay.caBundle.configMap $relay.caBundle.secret }}
    - name: ca
      mountPath: /etc/kamaji-telemetry/ca
      readOnly: true
    {{- end }}
    {{- if include "kamaji-telemetry-agent.relayToken" . }}
    - name: relay-token
      mountPath: /etc/kamaji-telemetry/token
      readOnly: true
    {{- end }}
    {{- if $relay.clientCertificateSecret }}
    - name: client
      mountPath: /etc/kamaji-telemetry/client
      readOnly: true
    {{- end }}
    {{- with $relay.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/*
Returns the relay's memory limits, each unless extraEnv sets it: kubectl apply --server-side rejects a variable that is set
twice.
*/}}
{{- define "kamaji-telemetry-agent.relayMemory" -}}
{{- $set := dict }}
{{- range .Values.relay.extraEnv }}
{{- $_ := set $set .name true }}
{{- end -}}
{{- if not (hasKey $set "RELAY_MEMORY_LIMIT_MIB") -}}
# Limit of the heap above which the relay rejects requests: 1.5 times the default of relay.yaml, since the contrib distribution
# has a larger heap when idle.
- name: RELAY_MEMORY_LIMIT_MIB
  value: "96"
{{ end -}}
{{- if not (hasKey $set "GOMEMLIMIT") -}}
# Above the limit of the heap, and below the container's limit by the size of the program and of requests in flight.
- name: GOMEMLIMIT
  value: 144MiB
{{- end }}
{{- end }}

{{/*
Returns the relay's volumes. They are mounted as directories, whose files the kubelet replaces when the Secret or the ConfigMap
changes; a subPath would never change.
*/}}
{{- define "kamaji-telemetry-agent.relayVolumes" -}}
{{- $relay := .Values.relay -}}
- name: relay
  configMap:
    name: {{ include "kamaji-telemetry-agent.name" . }}-relay
{{- with $relay.caBundle.configMap }}
- name: ca
  configMap:
    name: {{ . | quote }}
    items:
      - key: {{ $relay.caBundle.key | quote }}
        path: ca.crt
{{- end }}
{{- with $relay.caBundle.secret }}
- name: ca
  secret:
    secretName: {{ . | quote }}
    items:
      - key: {{ $relay.caBundle.key | quote }}
        path: ca.crt
{{- end }}
{{- if include "kamaji-telemetry-agent.relayToken" . }}
- name: relay-token
  secret:
    secretName: {{ $relay.tokenSecret.name | quote }}
    items:
      - key: {{ $relay.tokenSecret.key | quote }}
        path: token
{{- end }}
{{- with $relay.clientCertificateSecret }}
- name: client
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- end }}
