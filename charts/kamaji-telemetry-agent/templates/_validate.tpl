{{/*
Fails if values contradict each other, and if a value would be ignored. Settings of the egress without telemetry.endpoint are
accepted: they take effect once local mode ends.
*/}}
{{- define "kamaji-telemetry-agent.validate" -}}
{{- include "kamaji-telemetry-agent.validateCluster" . }}
{{- include "kamaji-telemetry-agent.validateUnknown" . }}
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
{{- range $name, $value := pick $relay "extraEnv" "extraArgs" "extraVolumeMounts" }}
{{- if $value }}
{{- fail (printf "relay.%s is set, yet relay.enabled is false and there is no relay: leave it empty; the agent's own is %s" $name $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $relay.caBundle.configMap $relay.caBundle.secret }}
{{- fail (printf "relay.caBundle.configMap is %q and relay.caBundle.secret is %q: set one of the two" $relay.caBundle.configMap $relay.caBundle.secret) }}
{{- end }}
{{- range $relay.extraEnv }}
{{- if and (eq (upper .name) "HTTPS_PROXY") $.Values.networkPolicy.enabled (not $.Values.networkPolicy.endpoint.ports) }}
{{- fail "relay.extraEnv has HTTPS_PROXY, whose port the NetworkPolicy would block: set networkPolicy.endpoint.ports to the port of the proxy" }}
{{- end }}
{{- end }}
{{- if and $relay.httpsProxy (hasPrefix "http://" .Values.telemetry.endpoint) }}
{{- fail (printf "relay.httpsProxy is %q, yet telemetry.endpoint is %q, which is not reached through that proxy: use an https:// endpoint" $relay.httpsProxy .Values.telemetry.endpoint) }}
{{- end }}
{{- include "kamaji-telemetry-agent.validateUniqueVariables" (dict "value" "extraEnv" "container" (include "kamaji-telemetry-agent.agent" .)) }}
{{- include "kamaji-telemetry-agent.validateVolumes" . }}
{{- if $relay.enabled }}
{{- include "kamaji-telemetry-agent.validateUniqueVariables" (dict "value" "relay.extraEnv" "container" (include "kamaji-telemetry-agent.relay" .)) }}
{{- end }}
{{- end }}

{{/*
Fails if a value that switches telemetry off is not what the schema accepts, which Helm does not read with
--skip-schema-validation.
*/}}
{{- define "kamaji-telemetry-agent.validateSwitches" -}}
{{- $global := .Values.global | default dict }}
{{- range $name, $value := dict "telemetry" .Values.telemetry "global.telemetry" $global.telemetry }}
{{- if not (or (kindIs "map" $value) (and (kindIs "invalid" $value) (eq $name "global.telemetry"))) }}
{{- fail (printf "%s is %v, where a map is expected: to switch telemetry off, set telemetry.disabled=true" $name (toJson $value)) }}
{{- end }}
{{- end }}
{{- $switches := dict "disabled" .Values.disabled "keepWhenDisabled" .Values.keepWhenDisabled "telemetry.disabled" .Values.telemetry.disabled "global.telemetry.disabled" ($global.telemetry | default dict).disabled }}
{{- range $name, $value := $switches }}
{{- if not (or (kindIs "bool" $value) (kindIs "invalid" $value)) }}
{{- fail (printf "%s is %v, where true or false is expected, without quotes" $name (toJson $value)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Fails on a version of Kubernetes that Chart.yaml excludes. Helm reads kubeVersion of the chart that is installed only, and not that of a dependency. */}}
{{- define "kamaji-telemetry-agent.validateCluster" -}}
{{- $version := .Capabilities.KubeVersion.Version }}
{{- if not (semverCompare .Chart.KubeVersion $version) }}
{{- fail (printf "the cluster has Kubernetes %s, and the telemetry agent needs %s: older versions take its relay, a native sidecar, for an init container that never ends; upgrade the cluster, or switch the agent off with telemetry.disabled=true" $version .Chart.KubeVersion) }}
{{- end }}
{{- end }}

{{/* Fails if the chart does not know a value that looks like an opt-out: telemetry would stay on. */}}
{{- define "kamaji-telemetry-agent.validateUnknown" -}}
{{- if and (hasKey .Values "enabled") (not (has (toString .Values.enabled) (list "true" "<nil>"))) }}
{{- fail (printf "enabled is %s, which does not switch telemetry off: set telemetry.disabled=true" (toJson .Values.enabled)) }}
{{- end }}
{{- $known := include "kamaji-telemetry-agent.knownValues" . | fromYaml }}
{{- $global := .Values.global | default dict }}
{{- range $path, $maps := dict "" (list .Values $known) "telemetry." (list .Values.telemetry $known.telemetry) "relay." (list .Values.relay $known.relay) "otlp." (list .Values.otlp $known.otlp) "global." (list $global $known.global) "global.telemetry." (list ($global.telemetry | default dict) $known.global.telemetry) }}
{{- $values := first $maps }}
{{- range $key := keys $values | sortAlpha }}
{{- if and (not (hasKey (last $maps) $key)) (include "kamaji-telemetry-agent.looksLikeOptOut" (dict "key" $key "value" (get $values $key))) }}
{{- fail (printf "%s%s is %s, which this chart does not know, so that telemetry would stay on: to switch it off, set telemetry.disabled=true" $path $key (toJson (get $values $key))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Returns the known values with their defaults: those of values.yaml, and the condition of a parent chart. */}}
{{- define "kamaji-telemetry-agent.knownValues" -}}
{{- include "kamaji-telemetry-agent.file" (dict "context" . "name" "values.yaml") }}
enabled: true
{{- end }}

{{/* Returns the paths in the map "values" that are not in the map "defaults", each with a comma. Globals belong to other charts too. */}}
{{- define "kamaji-telemetry-agent.unknownKeys" -}}
{{- $defaults := .defaults }}
{{- $path := .path }}
{{- range $key, $value := omit .values "global" }}
{{- $default := get $defaults $key }}
{{- if not (hasKey $defaults $key) }}
{{- printf "%s%s," $path $key }}
{{- else if and $default (kindIs "map" $default) (kindIs "map" $value) (not (has $key (include "kamaji-telemetry-agent.freeMaps" . | splitList ","))) }}
{{- include "kamaji-telemetry-agent.unknownKeys" (dict "values" $value "defaults" $default "path" (printf "%s%s." $path $key)) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Returns "true" if "key" is a word for on or off, however it is spelt, and "value" does not say that telemetry is on. Letters in
another order are a slip of the keyboard.
*/}}
{{- define "kamaji-telemetry-agent.looksLikeOptOut" -}}
{{- if and (kindIs "string" .value) (has (lower .value) (list "off" "disable" "disabled" "none" "never" "stop" "no" "false")) }}true{{ end }}
{{- $word := regexReplaceAll "[^a-z]" (lower .key) "" | replace "kamaji" "" | replace "agent" "" }}
{{- $on := "(is)?(e[abdeln]{4,7}|active|on|send|collect|report|share|allow|allowed|consent|optin|optedin)" }}
{{- $off := "(is)?(d[abdeils]{5,8}|off|no|stop|mute|optout|optedout|donottrack|dnt|sdkdisabled)" }}
{{- if regexMatch (printf "^(telemetry)?%s?(telemetry)?$" $on) $word }}
{{- if ne (toString .value) "true" }}true{{ end }}
{{- else if regexMatch (printf "^(telemetry|otel)?%s(telemetry)?$" $off) $word }}
{{- if not (has (toString .value) (list "false" "<nil>")) }}true{{ end }}
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

{{/* Fails if extraVolumes has the name of one of the chart's volumes, or one name twice: the API server rejects the pod. */}}
{{- define "kamaji-telemetry-agent.validateVolumes" -}}
{{- $volumes := include "kamaji-telemetry-agent.agentVolumes" . | fromYamlArray }}
{{- if include "kamaji-telemetry-agent.hasRelay" . }}
{{- $volumes = concat $volumes (include "kamaji-telemetry-agent.relayVolumes" . | fromYamlArray) }}
{{- end }}
{{- $names := dict }}
{{- range $volumes }}
{{- if hasKey $names .name }}
{{- fail (printf "extraVolumes has %s, which is the name of another volume of the pod: choose another name" .name) }}
{{- end }}
{{- $_ := set $names .name true }}
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
