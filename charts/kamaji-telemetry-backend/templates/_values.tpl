{{/*
Sets each value that is missing, null or blank to its default in files/values.yaml, which is a copy of values.yaml. Helm replaces
values.yaml itself by that of the last release with --reuse-values, where newer values are missing, and null removes a default.
Every template includes this first.
*/}}
{{- define "kamaji-telemetry-backend.setDefaults" -}}
{{- $file := .Files.Get "files/values.yaml" }}
{{- if not (trim $file) }}
{{- fail "files/values.yaml is missing in this copy of the chart, or empty: take the complete chart, from its registry or from a checkout" }}
{{- end }}
{{- /* Globals belong to the parent chart. */}}
{{- include "kamaji-telemetry-backend.fill" (list .Values (omit (fromYaml $file) "global")) }}
{{- end }}

{{/* Returns the maps with defaults that null removes, as in `resources.limits: null`. The schema does not describe what is in them. */}}
{{- define "kamaji-telemetry-backend.freeMaps" -}}
resources,podSecurityContext
{{- end }}

{{/* Completes the first of two maps from the second. */}}
{{- define "kamaji-telemetry-backend.fill" -}}
{{- $values := first . }}
{{- range $key, $default := last . }}
{{- $value := index $values $key }}
{{- $isFree := has $key (include "kamaji-telemetry-backend.freeMaps" . | splitList ",") }}
{{- /* Without its digest an image is that of its tag, and without its registry the repository begins with one. */}}
{{- $isBlank := and (kindIs "string" $value) (eq (toString $value) "") (not (has $key (list "digest" "registry"))) }}
{{- if or (kindIs "invalid" $value) $isBlank }}
{{- $_ := set $values $key (ternary dict $default $isFree) }}
{{- else if and (kindIs "map" $default) (not $isFree) }}
{{- include "kamaji-telemetry-backend.fill" (list $value $default) }}
{{- end }}
{{- end }}
{{- end }}
