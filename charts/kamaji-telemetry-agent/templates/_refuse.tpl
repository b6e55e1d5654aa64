{{/*
Refuses values that contradict each other. What would be ignored is refused too, but for what waits for an endpoint: who
tries it locally keeps the settings of the way out.
*/}}
{{- define "kamaji-telemetry.refuse" -}}
{{- include "kamaji-telemetry.refuseSwitches" . }}
{{- $relay := .Values.relay }}
{{- $otlp := .Values.otlp }}
{{- if $relay.enabled }}
{{- range $name, $value := dict "endpoint" $otlp.endpoint "headersSecret.name" $otlp.headersSecret.name "caSecret.name" $otlp.caSecret.name "clientCertificateSecret" $otlp.clientCertificateSecret }}
{{- if $value }}
{{- fail (printf "otlp.%s is %q, yet relay.enabled is true and the agent sends to the relay: set relay.enabled=false to send to a collector of your own, or telemetry.endpoint to say where the relay sends" $name $value) }}
{{- end }}
{{- end }}
{{- else }}
{{- if not $otlp.endpoint }}
{{- fail "relay.enabled is false and otlp.endpoint is empty: set otlp.endpoint to your own collector, http://HOST:PORT or https://HOST:PORT; to send nothing, set telemetry.disabled=true" }}
{{- end }}
{{- if .Values.telemetry.endpoint }}
{{- fail (printf "telemetry.endpoint is %q, yet relay.enabled is false and it is the relay that sends there: leave it empty and set otlp.endpoint to your own collector" .Values.telemetry.endpoint) }}
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
{{- fail (printf "relay.%s is set, yet relay.enabled is false and there is no relay: leave it empty; what is for the agent is %s" $name $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $relay.caBundle.configMap $relay.caBundle.secret }}
{{- fail (printf "relay.caBundle.configMap is %q and relay.caBundle.secret is %q: set one of the two" $relay.caBundle.configMap $relay.caBundle.secret) }}
{{- end }}
{{- if and $relay.httpsProxy (hasPrefix "http://" .Values.telemetry.endpoint) }}
{{- fail (printf "relay.httpsProxy is %q, yet telemetry.endpoint is %q, which is not reached through it: use an https:// endpoint" $relay.httpsProxy .Values.telemetry.endpoint) }}
{{- end }}
{{- include "kamaji-telemetry.refuseRepeated" (dict "value" "extraEnv" "container" (include "kamaji-telemetry.agent" .)) }}
{{- if $relay.enabled }}
{{- include "kamaji-telemetry.refuseRepeated" (dict "value" "relay.extraEnv" "container" (include "kamaji-telemetry.relay" .)) }}
{{- end }}
{{- end }}

{{/* Refuses the agent's switches where the relay would get them: it reads none, and telemetry would stay on. */}}
{{- define "kamaji-telemetry.refuseSwitches" -}}
{{- range .Values.relay.extraEnv }}
{{- if has .name (include "kamaji-telemetry.switches" . | splitList ",") }}
{{- fail (printf "relay.extraEnv has %s, which the relay does not read, so that telemetry would stay on: set it in extraEnv, or telemetry.disabled=true" .name) }}
{{- end }}
{{- end }}
{{- range .Values.relay.extraArgs }}
{{- if hasPrefix "--disable-telemetry" . }}
{{- fail (printf "relay.extraArgs has %s, which the relay does not know, so that telemetry would stay on: set it in extraArgs, or telemetry.disabled=true" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Refuses a variable that is there twice: which one counts would depend on who applies it. */}}
{{- define "kamaji-telemetry.refuseRepeated" -}}
{{- $seen := dict }}
{{- $value := .value }}
{{- range (index (fromYamlArray .container) 0).env }}
{{- if hasKey $seen .name }}
{{- fail (printf "%s has %s, which is set already: give it once, and by the value that the chart has for it where there is one" $value .name) }}
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- end }}
