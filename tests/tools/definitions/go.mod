module github.com/clastix/kamaji-telemetry/tests/tools/definitions

go 1.26.0

// None of their code is built: only the definitions of custom resources among their files are taken.
require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
