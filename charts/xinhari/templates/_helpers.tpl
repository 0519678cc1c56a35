{{/* Labels that every object of the chart carries. */}}
{{- define "xinhari.labels" -}}
app.kubernetes.io/name: xinhari
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels that find the operator's pods. */}}
{{- define "xinhari.selector" -}}
app.kubernetes.io/name: xinhari
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}
