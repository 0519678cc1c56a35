package v1alpha1

// Labels, names and values that parts of the platform agree on.
const (
	// LabelService on a core Service, an EndpointSlice or another object the operator made names the Service it is for.
	LabelService = "xinhari.com/service"
	// LabelVersion on a core Service or an EndpointSlice names the version of the Service it is for.
	LabelVersion = "xinhari.com/version"
	// LabelManagedBy is the recommended label that says which program looks after an object.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy on every object that the operator makes.
	ManagedBy = "xinhari"
	// EndpointSliceManager is the value of endpointslice.kubernetes.io/managed-by on slices that the operator makes.
	EndpointSliceManager = "xinhari.com"
	// FieldOwner is the name under which the operator applies fields.
	FieldOwner = "xinhari"
	// RuntimeConfigMap is the name of the ConfigMap with the runtime's defaults, in each namespace that has a Service.
	RuntimeConfigMap = "xinhari"
	// WorkloadRole is the name of the ClusterRole with what a workload reads in its own namespace, and of the RoleBinding
	// that gives it to the accounts of the namespace's Services.
	WorkloadRole = "xinhari-workload"
	// CallerRole is the name of the ClusterRole with what a workload reads in the namespace of a Service that it calls,
	// and of the RoleBinding that gives it to those whom the namespace lets call.
	CallerRole = "xinhari-caller"
	// VersionSeparator stands between a Service's name and a version's in the name of that version's core Service.
	VersionSeparator = "--"
)

// Keys of the ConfigMap named RuntimeConfigMap. A key whose value the installer did not give is absent.
const (
	// KeyTrustDomain holds the trust domain of every identity in the cluster.
	KeyTrustDomain = "trustDomain"
	// KeyOperatorID holds the operator's own SPIFFE ID.
	KeyOperatorID = "operatorID"
	// KeyNATSURL holds the URL of the NATS servers that topics live on.
	KeyNATSURL = "natsURL"
	// KeyEtcdEndpoints holds the etcd URLs for locks and configuration, separated by commas.
	KeyEtcdEndpoints = "etcdEndpoints"
	// KeyTrustBundle holds the roots to trust, in PEM.
	KeyTrustBundle = "ca.crt"
	// KeyIssuer names the issuer that signs now. Workloads ask for a new certificate when it changes, so that a rotation of
	// the root ends within minutes and not within the life of a certificate.
	KeyIssuer = "issuer"
)

// Condition types of the four kinds. Ready is always there once an object was looked at; Reconciling and Stalled are
// there only while they are true; the others say something of a kind's own and are there only while they are true.
const (
	// ConditionReady says whether the object does what its spec asks for.
	ConditionReady = "Ready"
	// ConditionReconciling says that the operator still works on the object, or tries again.
	ConditionReconciling = "Reconciling"
	// ConditionStalled says that only an edit of this or of another object can help.
	ConditionStalled = "Stalled"
	// ConditionSharedIdentity says that several Services share one account and therefore one identity.
	ConditionSharedIdentity = "SharedIdentity"
	// ConditionKeyInSecret says that a Secret holds the Service's private key, so that its readers can be the Service.
	ConditionKeyInSecret = "KeyInSecret"
	// ConditionUnknownTrustDomain says that a rule names an identity of a trust domain that is not ours.
	ConditionUnknownTrustDomain = "UnknownTrustDomain"
)

// Reasons of conditions.
const (
	// ReasonReady is the reason of Ready when the object does what its spec asks for.
	ReasonReady = "Ready"
	// ReasonProgressing is the reason while the operator works on the object.
	ReasonProgressing = "Progressing"
	// ReasonNotOwned is the reason when an object that the operator would make exists and is someone else's.
	ReasonNotOwned = "NotOwned"
	// ReasonNotFound is the reason when an object that the spec points at does not exist.
	ReasonNotFound = "NotFound"
	// ReasonRefused is the reason when the API server refused an object that the operator makes of the spec.
	ReasonRefused = "Refused"
	// ReasonFailed is the reason when a step failed and is tried again.
	ReasonFailed = "Failed"
	// ReasonNotGranted is the reason when the operator was not given the right to do what the spec asks for.
	ReasonNotGranted = "NotGranted"
	// ReasonReadersCanBeIt is the reason of KeyInSecret.
	ReasonReadersCanBeIt = "ReadersCanBeIt"
	// ReasonSharedAccount is the reason of SharedIdentity.
	ReasonSharedAccount = "SharedAccount"
)

// The trust bundle and its rotation, in the operator's namespace.
const (
	// TrustConfigMap is the name of the ConfigMap with the trust bundle of every namespace and the state of a rotation.
	TrustConfigMap = "xinhari-trust"
	// AnnotationRotation on the ConfigMap named TrustConfigMap asks for a step of a rotation: RotationStart or RotationForce.
	// The operator removes it when it acts on it.
	AnnotationRotation = "xinhari.com/rotation"
	// RotationStart is the value of AnnotationRotation that begins a rotation to a new root.
	RotationStart = "start"
	// RotationForce is the value of AnnotationRotation that goes on to the next step without waiting for workloads.
	RotationForce = "force"
)

// Requests for certificates.
const (
	// SignerName is the signer that workloads name in their CertificateSigningRequests.
	SignerName = "xinhari.com/workload"
	// RequestPrefix begins the name of every CertificateSigningRequest of a workload.
	RequestPrefix = "xinhari-"
	// AnnotationBundleHash on a CertificateSigningRequest is the hash of the trust bundle that the workload uses: 64
	// lower case hexadecimal digits. It is the workload's acknowledgement of that bundle.
	AnnotationBundleHash = "xinhari.com/bundle-hash"
	// AnnotationSource on a CertificateSigningRequest is what a runtime chose once for itself: 16 lower case hexadecimal
	// digits. With the pod's UID it names a holder of certificates, whose newest replaces its older ones.
	AnnotationSource = "xinhari.com/source"
	// ConditionBasis on a CertificateSigningRequest has as its message the CertificateBasis of the Services that its certificate
	// was made of. The workload asks for another when that is not what it sees.
	ConditionBasis = "xinhari.com/Basis"
)
