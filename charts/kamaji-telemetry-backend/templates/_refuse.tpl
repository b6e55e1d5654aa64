{{/* Refuses values that contradict each other, and those that would work and be wrong. */}}
{{- define "kamaji-telemetry-backend.refuse" -}}
{{- include "kamaji-telemetry-backend.refuseTls" . }}
{{- include "kamaji-telemetry-backend.refuseExposure" . }}
{{- include "kamaji-telemetry-backend.refuseSharedHostname" . }}
{{- $modes := .Values.store.sqlite.persistence.accessModes }}
{{- if and .Values.backup.enabled (has "ReadWriteOncePod" $modes) }}
{{- fail "store.sqlite.persistence.accessModes is [ReadWriteOncePod], yet backup.enabled is true and a backup's pod mounts the volume beside the backend's: leave backup.enabled=false and take snapshots of the volume; a claim's access mode can't be changed: to change it, restore into a new claim" }}
{{- end }}
{{- $claims := dict "store" (include "kamaji-telemetry-backend.storeClaim" .) "backup" (include "kamaji-telemetry-backend.backupClaim" .) }}
{{- if and .Values.backup.enabled (eq $claims.store $claims.backup) }}
{{- fail (printf "backup.persistence.existingClaim is %q, which is the store's: what loses the store would lose its copies, so give another claim" $claims.backup) }}
{{- end }}
{{- $seen := dict }}
{{- range concat (include "kamaji-telemetry-backend.variables" . | fromYamlArray) .Values.extraEnv }}
{{- if hasKey $seen .name }}
{{- fail (printf "extraEnv has %s, which is set already: give it once, and by the value that the chart has for it where there is one" .name) }}
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- if and .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") }}
{{- fail (printf "service.externalTrafficPolicy is %q, yet service.type is ClusterIP, which has none: leave it empty, or set service.type to NodePort or LoadBalancer" .Values.service.externalTrafficPolicy) }}
{{- end }}
{{- end }}

{{- define "kamaji-telemetry-backend.refuseTls" -}}
{{- $tls := .Values.tls }}
{{- range $name, $value := dict "issuerRef.name" $tls.certManager.issuerRef.name "dnsNames" $tls.certManager.dnsNames }}
{{- if and $value (not $tls.certManager.enabled) }}
{{- fail (printf "tls.certManager.%s is set, yet tls.certManager.enabled is false and there would be no certificate: set that to true, or leave this empty" $name) }}
{{- end }}
{{- end }}
{{- if $tls.certManager.enabled }}
{{- if $tls.existingSecret }}
{{- fail (printf "tls.existingSecret is %q and tls.certManager.enabled is true: set one of the two" $tls.existingSecret) }}
{{- end }}
{{- if not $tls.certManager.issuerRef.name }}
{{- fail "tls.certManager.issuerRef.name is empty: set it to the issuer that signs the certificate" }}
{{- end }}
{{- if not $tls.certManager.dnsNames }}
{{- fail (printf "tls.certManager.dnsNames is empty: set the names that senders and readers use, such as %s.%s.svc" (include "kamaji-telemetry-backend.name" .) .Release.Namespace) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Behind a proxy that is not trusted all the world is one source, whose limits a single sender can use up, and nothing would
show that before one does. So it is refused rather than noted.
*/}}
{{- define "kamaji-telemetry-backend.refuseExposure" -}}
{{- $publicUrl := .Values.publicUrl }}
{{- range $way, $ports := pick .Values "ingress" "gateway" }}
{{- range $port, $values := $ports }}
{{- if $values.enabled }}
{{- $key := ternary "host" "hostnames" (eq $way "ingress") }}
{{- if not (get $values $key) }}
{{- fail (printf "%s.%s.enabled is true and %s.%s.%s is empty: set what it is reached by, such as telemetry.example.org" $way $port $way $port $key) }}
{{- end }}
{{- if and (eq $way "gateway") (not $values.parentRefs) }}
{{- fail (printf "gateway.%s.enabled is true and gateway.%s.parentRefs is empty: set it to your gateway, [{name: …, namespace: …}]" $port $port) }}
{{- end }}
{{- if not $.Values.trustedProxies }}
{{- fail (printf "%s.%s.enabled is true and trustedProxies is empty, so that all senders would be one source and share the limits of one: set trustedProxies to the addresses of the proxy's pods; where those are any of a network, set that, and let networkPolicy.from admit nobody but them" $way $port) }}
{{- end }}
{{- if eq $port "http" }}
{{- $host := ternary (list (get $values "host")) (get $values "hostnames") (eq $way "ingress") }}
{{- if not $publicUrl }}
{{- fail (printf "%s.http.enabled is true and publicUrl is empty, so that the cookie of a session would not be kept to TLS: set publicUrl to what browsers know the page by, such as https://%s" $way (first $host)) }}
{{- end }}
{{- if and (hasPrefix "http://" $publicUrl) (get $values "tls") }}
{{- fail (printf "publicUrl is %q, yet %s.http.tls is set, so that browsers come by https:// and the cookie of a session would not be kept to TLS: set publicUrl to https://%s" $publicUrl $way (urlParse $publicUrl).host) }}
{{- end }}
{{- $public := regexReplaceAll ":[0-9]+$" (urlParse $publicUrl).host "" }}
{{- $known := false }}
{{- range $host }}
{{- if or (eq . $public) (and (hasPrefix "*." .) (hasSuffix (trimPrefix "*" .) $public)) }}{{ $known = true }}{{ end }}
{{- end }}
{{- if not $known }}
{{- fail (printf "publicUrl is %q, yet %s.http.%s is %s: readers under another name than that of publicUrl are answered 421, so let the two agree" $publicUrl $way $key (join ", " $host)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A gateway refuses the second of two routes of different kinds that share a listener and a name. */}}
{{- define "kamaji-telemetry-backend.refuseSharedHostname" -}}
{{- $http := .Values.gateway.http }}
{{- $grpc := .Values.gateway.grpc }}
{{- if and $http.enabled $grpc.enabled }}
{{- $listeners := dict "namespace" .Release.Namespace "http" $http.parentRefs "grpc" $grpc.parentRefs }}
{{- if include "kamaji-telemetry-backend.shareListener" $listeners }}
{{- range $one := $http.hostnames }}
{{- range $other := $grpc.hostnames }}
{{- if or (eq $one $other) (include "kamaji-telemetry-backend.covers" (list $one $other)) (include "kamaji-telemetry-backend.covers" (list $other $one)) }}
{{- fail (printf "gateway.http.hostnames has %q and gateway.grpc.hostnames %q, and their parentRefs meet: a listener takes an HTTPRoute or a GRPCRoute for a name, not both; give gRPC a name, or by sectionName a listener, of its own" $one $other) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Says "true" where the first of two hostnames is a wildcard that the second one is in, which may be one too. */}}
{{- define "kamaji-telemetry-backend.covers" -}}
{{- $wildcard := first . }}
{{- if and (hasPrefix "*." $wildcard) (hasSuffix (trimPrefix "*" $wildcard) (last .)) }}true{{ end }}
{{- end }}

{{/* Says "true" where two lists of parents, "http" and "grpc", may have a listener in common. "namespace" is the default. */}}
{{- define "kamaji-telemetry-backend.shareListener" -}}
{{- $namespace := .namespace }}
{{- $others := .grpc }}
{{- range $one := .http }}
{{- range $other := $others }}
{{- $same := and (eq $one.name $other.name) (eq ($one.namespace | default $namespace) ($other.namespace | default $namespace)) }}
{{- /* Without a section or a port it is each listener of the gateway. */}}
{{- range tuple "sectionName" "port" }}
{{- $part := get $one . | toString }}
{{- $otherPart := get $other . | toString }}
{{- if and $part $otherPart (ne $part $otherPart) }}{{ $same = false }}{{ end }}
{{- end }}
{{- if $same }}true{{ end }}
{{- end }}
{{- end }}
{{- end }}
