{{/* Returns an Ingress of "root" with "values" for the "paths" of a "port". */}}
{{- define "kamaji-telemetry-backend.ingress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "kamaji-telemetry-backend.metadata" (dict "root" .root "suffix" (printf "-%s" .port) "annotations" .values.annotations) | nindent 2 }}
spec:
  {{- with .values.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .values.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - host: {{ .values.host | quote }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ . }}
            pathType: Prefix
            backend:
              service:
                name: {{ include "kamaji-telemetry-backend.name" $.root }}
                port:
                  name: {{ $.port }}
          {{- end }}
{{- end }}

{{/* Returns a route of "kind" of "root" with "values" to a "port" with its "number". It matches every path. */}}
{{- define "kamaji-telemetry-backend.route" -}}
apiVersion: gateway.networking.k8s.io/v1
kind: {{ .kind }}
metadata:
  {{- include "kamaji-telemetry-backend.metadata" (dict "root" .root "suffix" (printf "-%s" .port) "annotations" .values.annotations) | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml .values.parentRefs | nindent 4 }}
  hostnames:
    {{- toYaml .values.hostnames | nindent 4 }}
  rules:
    - backendRefs:
        - name: {{ include "kamaji-telemetry-backend.name" .root }}
          port: {{ .number }}
{{- end }}
