{{/*
Fails if values contradict each other, and if a value would be ignored. Settings of the egress without telemetry.endpoint are
accepted: they take effect once local mode ends.
*/}}
{{- define "kamaji-telemetry-agent.validate" -}}
{{- include "kamaji-telemetry-agent.validateOptOut" . }}
{{- $relay := .Values.relay }}
{{- $otlp := .Values.otlp }}
{{- if $relay.enabled }}
{{- range $name, $value := dict "endpoint" $otlp.endpoint "headersSecret.name" $otlp.headersSecret.name "caSecret.name" $otlp.caSecret.name "clientCertificateSecret" $otlp.clientCertificateSecret }}
{{- if $value }}
{{- fail (printf "otlp.%s is %q, yet relay.enabled is true and the agent sends to the relay: set relay.enabled=false to send to your own collector, or telemetry.endpoint for the backend that the relay sends to" $name $value) }}
{{- end }}
{{- end }}
{{- else }}
{{- if not $otlp.endpoint }}
{{- fail "relay.enabled is false and otlp.endpoint is empty: set otlp.endpoint to your own collector, http://HOST:PORT or https://HOST:PORT; to send nothing, set telemetry.disabled=true" }}
{{- end }}
{{- if .Values.telemetry.endpoint }}
{{- fail (printf "telemetry.endpoint is %q, yet relay.enabled is false and only the relay sends there: leave it empty and set otlp.endpoint to your own collector" .Values.telemetry.endpoint) }}
{{- end }}
{{- range $name, $value := dict "httpsProxy" $relay.httpsProxy "noProxy" $relay.noProxy }}
{{- if $value }}
{{- fail (printf "relay.%s is %q, yet relay.enabled is false: the agent itself can't use a proxy; set relay.enabled=true, or the proxy in your own collector" $name $value) }}
{{- end }}
{{- end }}
{{- range $name, $value := dict "caBundle.configMap" $relay.caBundle.configMap "caBundle.secret" $relay.caBundle.secret "clientCertificateSecret" $relay.clientCertificateSecret "tokenSecret.name" $relay.tokenSecret.name }}
{{- if $value }}
{{- fail (printf "relay.%s is %q, yet relay.enabled is false: use otlp.caSecret, otlp.clientCertificateSecret and otlp.headersSecret for your own collector" $name $value) }}
{{- end }}
{{- end }}
{{- range $name, $value := pick $relay "extraEnv" "extraArgs" }}
{{- if $value }}
{{- fail (printf "relay.%s is set, yet relay.enabled is false and there is no relay: leave it empty; the agent's own is %s" $name $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $relay.caBundle.configMap $relay.caBundle.secret }}
{{- fail (printf "relay.caBundle.configMap is %q and relay.caBundle.secret is %q: set one of the two" $relay.caBundle.configMap $relay.caBundle.secret) }}
{{- end }}
{{- if and $relay.httpsProxy (hasPrefix "http://" .Values.telemetry.endpoint) }}
{{- fail (printf "relay.httpsProxy is %q, yet telemetry.endpoint is %q, which is not reached through that proxy: use an https:// endpoint" $relay.httpsProxy .Values.telemetry.endpoint) }}
{{- end }}
{{- include "kamaji-telemetry-agent.validateUniqueVariables" (dict "value" "extraEnv" "container" (include "kamaji-telemetry-agent.agent" .)) }}
{{- if $relay.enabled }}
{{- include "kamaji-telemetry-agent.validateUniqueVariables" (dict "value" "relay.extraEnv" "container" (include "kamaji-telemetry-agent.relay" .)) }}
{{- end }}
{{- end }}

{{/* Fails if an opt-out of the agent is set on the relay: the relay does not read it, and telemetry would stay on. */}}
{{- define "kamaji-telemetry-agent.validateOptOut" -}}
{{- range .Values.relay.extraEnv }}
{{- if has .name (include "kamaji-telemetry-agent.optOutVariables" . | splitList ",") }}
{{- fail (printf "relay.extraEnv has %s, which the relay does not read, so that telemetry would stay on: set it in extraEnv, or telemetry.disabled=true" .name) }}
{{- end }}
{{- end }}
{{- range .Values.relay.extraArgs }}
{{- if hasPrefix "--disable-telemetry" . }}
{{- fail (printf "relay.extraArgs has %s, which the relay does not know, so that telemetry would stay on: set it in extraArgs, or telemetry.disabled=true" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Fails if "container" has a variable twice: which one takes effect would depend on the client that applies it. */}}
{{- define "kamaji-telemetry-agent.validateUniqueVariables" -}}
{{- $set := dict }}
{{- $value := .value }}
{{- range (index (fromYamlArray .container) 0).env }}
{{- if hasKey $set .name }}
{{- fail (printf "%s has %s, which is set already: set it once, and with the chart's own value if there is one" $value .name) }}
{{- end }}
{{- $_ := set $set .name true }}
{{- end }}
{{- end }}
