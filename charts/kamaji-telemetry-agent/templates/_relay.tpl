{{/* What the relay runs: it sends to the endpoint or, where there is none, prints. */}}
{{- define "kamaji-telemetry.relayConfig" -}}
{{- $file := ternary "files/debug.yaml" "files/relay.yaml" (eq (include "kamaji-telemetry.local" .) "true") }}
{{- .Files.Get $file | trimSuffix "\n" }}
{{- end }}

{{/* Says "true" where it shows a token, which it does to a backend alone. */}}
{{- define "kamaji-telemetry.relayToken" -}}
{{- if and .Values.relay.tokenSecret.name .Values.telemetry.endpoint }}true{{ end }}
{{- end }}

{{/* A sidecar: the agent begins once it listens, and it ends after the agent, which delivers through it to the last. */}}
{{- define "kamaji-telemetry.relay" -}}
{{- $relay := .Values.relay -}}
- name: relay
  image: {{ include "kamaji-telemetry.image" (dict "image" $relay.image) | quote }}
  imagePullPolicy: {{ $relay.image.pullPolicy }}
  restartPolicy: Always
  args:
    - --config=/etc/kamaji-telemetry/relay/relay.yaml
    {{- if include "kamaji-telemetry.relayToken" . }}
    - --config=/etc/kamaji-telemetry/relay/token.yaml
    {{- end }}
    {{- range $relay.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    - name: RELAY_HEALTH_LISTEN
      value: {{ printf "%s:13133" .Values.listenAddress | quote }}
    {{- include "kamaji-telemetry.relayMemory" . | nindent 4 }}
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
    # Beside the file of the system's authorities, which is read all the same.
    - name: SSL_CERT_DIR
      value: /etc/kamaji-telemetry/ca
    {{- end }}
    {{- if include "kamaji-telemetry.relayToken" . }}
    - name: RELAY_TOKEN
      valueFrom:
        secretKeyRef:
          name: {{ $relay.tokenSecret.name | quote }}
          key: {{ $relay.tokenSecret.key | quote }}
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
  startupProbe:
    httpGet:
      port: relay-health
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet:
      port: relay-health
  resources:
    {{- toYaml $relay.resources | nindent 4 }}
  securityContext:
    {{- include "kamaji-telemetry.securityContext" . | nindent 4 }}
  volumeMounts:
    - name: relay
      mountPath: /etc/kamaji-telemetry/relay
      readOnly: true
    {{- if or $relay.caBundle.configMap $relay.caBundle.secret }}
    - name: ca
      mountPath: /etc/kamaji-telemetry/ca
      readOnly: true
    {{- end }}
    {{- if $relay.clientCertificateSecret }}
    - name: client
      mountPath: /etc/kamaji-telemetry/client
      readOnly: true
    {{- end }}
{{- end }}

{{/* Its limits, each as long as extraEnv has none: a variable that is there twice is refused by kubectl apply --server-side. */}}
{{- define "kamaji-telemetry.relayMemory" -}}
{{- $given := dict }}
{{- range .Values.relay.extraEnv }}
{{- $_ := set $given .name true }}
{{- end -}}
{{- if not (hasKey $given "RELAY_MEMORY_LIMIT_MIB") -}}
# Of heap, above which the relay refuses: half as much again as without the contrib distribution, which begins with more.
- name: RELAY_MEMORY_LIMIT_MIB
  value: "96"
{{ end -}}
{{- if not (hasKey $given "GOMEMLIMIT") -}}
# Above that, and with room to the container's limit for the program itself and for what is under way.
- name: GOMEMLIMIT
  value: 144MiB
{{- end }}
{{- end }}

{{/* Its volumes. */}}
{{- define "kamaji-telemetry.relayVolumes" -}}
{{- $relay := .Values.relay -}}
- name: relay
  configMap:
    name: {{ include "kamaji-telemetry.name" . }}-relay
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
{{- with $relay.clientCertificateSecret }}
- name: client
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- end }}
