{{/* Fails if values contradict each other, or would render a working but unsafe backend. */}}
{{- define "kamaji-telemetry-backend.validate" -}}
{{- include "kamaji-telemetry-backend.validateTls" . }}
{{- include "kamaji-telemetry-backend.validateExposure" . }}
{{- include "kamaji-telemetry-backend.validateStore" . }}
{{- include "kamaji-telemetry-backend.validateRestore" . }}
{{- include "kamaji-telemetry-backend.validateRouteHostnames" . }}
{{- $modes := .Values.store.sqlite.persistence.accessModes }}
{{- if and .Values.backup.enabled (has "ReadWriteOncePod" $modes) }}
{{- fail "store.sqlite.persistence.accessModes is [ReadWriteOncePod], yet backup.enabled is true and the backup's pod mounts the volume as well as the backend's: leave backup.enabled=false and take snapshots of the volume; the access mode of a claim can't be changed: to change it, restore into a new claim" }}
{{- end }}
{{- $claims := dict "store" (include "kamaji-telemetry-backend.storeClaim" .) "backup" (include "kamaji-telemetry-backend.backupClaim" .) }}
{{- if and .Values.backup.enabled (eq $claims.store $claims.backup) }}
{{- fail (printf "backup.persistence.existingClaim is %q, which is the store's: a loss of the store would include its backups, so set another claim" $claims.backup) }}
{{- end }}
{{- $volumes := dict }}
{{- range include "kamaji-telemetry-backend.volumes" . | fromYamlArray }}
{{- if hasKey $volumes .name }}
{{- fail (printf "extraVolumes has %s, which is the name of another volume of the pod: choose another name" .name) }}
{{- end }}
{{- $_ := set $volumes .name true }}
{{- end }}
{{- $set := dict }}
{{- range concat (include "kamaji-telemetry-backend.variables" . | fromYamlArray) .Values.extraEnv }}
{{- if hasKey $set .name }}
{{- fail (printf "extraEnv has %s, which is set already: set it once, and with the chart's own value if there is one" .name) }}
{{- end }}
{{- $_ := set $set .name true }}
{{- end }}
{{- if and .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") }}
{{- fail (printf "service.externalTrafficPolicy is %q, yet service.type is ClusterIP, which has none: leave it empty, or set service.type to NodePort or LoadBalancer" .Values.service.externalTrafficPolicy) }}
{{- end }}
{{- end }}

{{/* Fails if values of the two kinds of stores contradict each other. */}}
{{- define "kamaji-telemetry-backend.validateStore" -}}
{{- $postgres := .Values.store.postgres }}
{{- if include "kamaji-telemetry-backend.isPostgres" . }}
{{- if not $postgres.address }}
{{- fail (printf "store.postgres.existingSecret is %q, yet store.postgres.address is empty: set it to postgres://USER@HOST/DATABASE; for SQLite leave both empty" $postgres.existingSecret) }}
{{- end }}
{{- if not $postgres.existingSecret }}
{{- fail "store.postgres.address is set, yet store.postgres.existingSecret is empty: set it to the Secret with the user's password; for SQLite leave both empty" }}
{{- end }}
{{- if .Values.backup.enabled }}
{{- fail "backup.enabled is true, yet the store is in PostgreSQL, whose backups are those of its operator, by base backups and an archive of WAL: leave backup.enabled=false" }}
{{- end }}
{{- with .Values.restore.backup }}
{{- fail (printf "restore.backup is %q, yet the store is in PostgreSQL, which its operator restores: leave restore.backup empty" .) }}
{{- end }}
{{- else }}
{{- if gt (.Values.replicas | int64) 1 }}
{{- fail (printf "replicas is %d, yet the store is a file of SQLite, which one process writes: set store.postgres.address and store.postgres.existingSecret, or leave replicas unset" (.Values.replicas | int64)) }}
{{- end }}
{{- if $postgres.caSecret.name }}
{{- fail (printf "store.postgres.caSecret.name is %q, yet store.postgres.address is empty, and the store is a file of SQLite: set the address, or leave this empty" $postgres.caSecret.name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Fails if a restore would run beside the backend, or without a claim of backups. */}}
{{- define "kamaji-telemetry-backend.validateRestore" -}}
{{- with .Values.restore.backup }}
{{- if not $.Values.maintenance }}
{{- fail (printf "restore.backup is %q, yet maintenance is false and the backend uses the store: set maintenance=true to restore; if the restore is done, leave restore.backup empty" .) }}
{{- end }}
{{- if not $.Values.backup.enabled }}
{{- fail (printf "restore.backup is %q, yet backup.enabled is false and there is no claim of backups: set backup.enabled=true, and backup.persistence.existingClaim if the backup is in a claim of yours" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Fails if the values of tls contradict each other. */}}
{{- define "kamaji-telemetry-backend.validateTls" -}}
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
Fails if the values of ingress and gateway contradict each other. trustedProxies is required rather than recommended in the
notes: behind an untrusted proxy all senders share one client's rate limits, and nothing shows it until one sender exhausts
them.
*/}}
{{- define "kamaji-telemetry-backend.validateExposure" -}}
{{- $publicUrl := .Values.publicUrl }}
{{- range $way, $ports := pick .Values "ingress" "gateway" }}
{{- range $port, $values := $ports }}
{{- if $values.enabled }}
{{- $key := ternary "host" "hostnames" (eq $way "ingress") }}
{{- if not (get $values $key) }}
{{- fail (printf "%s.%s.enabled is true and %s.%s.%s is empty: set it to its host name, such as telemetry.example.org" $way $port $way $port $key) }}
{{- end }}
{{- if and (eq $way "gateway") (not $values.parentRefs) }}
{{- fail (printf "gateway.%s.enabled is true and gateway.%s.parentRefs is empty: set it to your gateway, [{name: …, namespace: …}]" $port $port) }}
{{- end }}
{{- if not $.Values.trustedProxies }}
{{- fail (printf "%s.%s.enabled is true and trustedProxies is empty, so that all senders would share one client's rate limits: set trustedProxies to the addresses of the proxy's pods; if they share a network with other pods, set the network, and allow only the proxy's pods with networkPolicy.from" $way $port) }}
{{- end }}
{{- if eq $port "http" }}
{{- $host := ternary (list (get $values "host")) (get $values "hostnames") (eq $way "ingress") }}
{{- if not $publicUrl }}
{{- fail (printf "%s.http.enabled is true and publicUrl is empty, so that the session cookie would not be restricted to TLS: set publicUrl to the URL of the page in browsers, such as https://%s" $way (first $host)) }}
{{- end }}
{{- if and (hasPrefix "http://" $publicUrl) (get $values "tls") }}
{{- fail (printf "publicUrl is %q, yet %s.http.tls is set, so that browsers use https:// and the session cookie would not be restricted to TLS: set publicUrl to https://%s" $publicUrl $way (urlParse $publicUrl).host) }}
{{- end }}
{{- $public := regexReplaceAll ":[0-9]+$" (urlParse $publicUrl).host "" }}
{{- $matched := false }}
{{- range $host }}
{{- if or (eq . $public) (and (hasPrefix "*." .) (hasSuffix (trimPrefix "*" .) $public)) }}{{ $matched = true }}{{ end }}
{{- end }}
{{- if not $matched }}
{{- fail (printf "publicUrl is %q, yet %s.http.%s is %s: readers under another host name than that of publicUrl get status 421, so set both to the same name" $publicUrl $way $key (join ", " $host)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Fails if both routes share a listener and a host name: a gateway accepts only one kind of route for them. */}}
{{- define "kamaji-telemetry-backend.validateRouteHostnames" -}}
{{- $http := .Values.gateway.http }}
{{- $grpc := .Values.gateway.grpc }}
{{- if and $http.enabled $grpc.enabled }}
{{- $listeners := dict "namespace" .Release.Namespace "http" $http.parentRefs "grpc" $grpc.parentRefs }}
{{- if include "kamaji-telemetry-backend.shareListener" $listeners }}
{{- range $one := $http.hostnames }}
{{- range $other := $grpc.hostnames }}
{{- if or (eq $one $other) (include "kamaji-telemetry-backend.covers" (list $one $other)) (include "kamaji-telemetry-backend.covers" (list $other $one)) }}
{{- fail (printf "gateway.http.hostnames has %q and gateway.grpc.hostnames %q, and their parentRefs may share a listener, which accepts an HTTPRoute or a GRPCRoute for a host name, not both: give gRPC its own host name, or its own listener with sectionName" $one $other) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Returns "true" if the first of two host names is a wildcard that covers the second, which may be a wildcard itself. */}}
{{- define "kamaji-telemetry-backend.covers" -}}
{{- $wildcard := first . }}
{{- if and (hasPrefix "*." $wildcard) (hasSuffix (trimPrefix "*" $wildcard) (last .)) }}true{{ end }}
{{- end }}

{{/* Returns "true" if the parentRefs "http" and "grpc" may share a listener. "namespace" is their default namespace. */}}
{{- define "kamaji-telemetry-backend.shareListener" -}}
{{- $namespace := .namespace }}
{{- $others := .grpc }}
{{- range $one := .http }}
{{- range $other := $others }}
{{- $same := and (eq $one.name $other.name) (eq ($one.namespace | default $namespace) ($other.namespace | default $namespace)) }}
{{- /* A parentRef without section or port refers to every listener of the gateway. */}}
{{- range tuple "sectionName" "port" }}
{{- $part := get $one . | toString }}
{{- $otherPart := get $other . | toString }}
{{- if and $part $otherPart (ne $part $otherPart) }}{{ $same = false }}{{ end }}
{{- end }}
{{- if $same }}true{{ end }}
{{- end }}
{{- end }}
{{- end }}
