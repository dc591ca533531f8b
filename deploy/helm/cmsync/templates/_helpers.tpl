{{- define "cmsync.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "cmsync.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cmsync.labels" -}}
{{ include "cmsync.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "cmsync.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "cmsync.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "cmsync.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* A pod: (dict "root" $ "stage" "producer") or "" for all stages. */}}
{{- define "cmsync.pod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "cmsync.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .stage | default "all" }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    # Options other than connections count from the next start.
    checksum/config: {{ $root.Values.config | sha256sum }}
spec:
  serviceAccountName: {{ include "cmsync.serviceAccount" $root }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: cmsync
      image: {{ include "cmsync.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - run
        {{- if .stage }}
        - --stage
        - {{ .stage }}
        {{- end }}
      env:
        - name: CMSYNC_HTTP__LISTEN
          value: 0.0.0.0:9464
        {{- with $root.Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: 9464
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      startupProbe:
        httpGet: {path: /live, port: http}
        periodSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /live, port: http}
        periodSeconds: 20
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 10
      resources:
        {{- toYaml $root.Values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/cmsync
          readOnly: true
        {{- if $root.Values.existingSecret }}
        - name: secrets
          mountPath: /run/secrets/cmsync
          readOnly: true
        {{- end }}
        {{- if $root.Values.krb5ConfigMap }}
        - name: krb5
          mountPath: /etc/krb5.conf
          subPath: krb5.conf
          readOnly: true
        {{- end }}
        {{- if not .stage }}
        - name: queue
          mountPath: /var/lib/cmsync
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "cmsync.name" $root }}
    {{- if $root.Values.existingSecret }}
    - name: secrets
      secret:
        secretName: {{ $root.Values.existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- if $root.Values.krb5ConfigMap }}
    - name: krb5
      configMap:
        name: {{ $root.Values.krb5ConfigMap }}
    {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
