package envtest

// object is one of the four kinds with a spec in YAML.
type object struct {
	name string // what the case shows
	kind string
	as   string // metadata.name; "sample" where empty
	spec string
}

// validObjects are accepted. Together they use every field of every spec; a test holds that.
func validObjects() []object {
	return []object{
		{name: "only a selector", kind: "Service", spec: `selector: {app: inventory}`},
		{name: "everything that goes together", kind: "Service", spec: `
selector: {app: inventory, example.com/tier: back}
serviceAccountName: inventory
ports: [{name: grpc, port: 8080}, {name: web, port: 8081}]
coreService: Create
versions:
- {name: v1, selector: {version: v1}, weight: 90}
- {name: v2, selector: {version: v2}, weight: 10}
identity: {duration: 24h, mode: Strict, secretName: inventory-tls}
access: {default: Deny, mode: Enforce}
subscriptions: [order-events]
traffic:
  policy: ConsistentHash
  hashMetadata: x-user
  timeout: 5s
  retry: {attempts: 3, codes: [Unavailable], methods: [shop.v1.Inventory/Get], budgetPercent: 20}
  locality: PreferZone
  outlier: {consecutiveFailures: 5, ejection: 30s, maxEjectedPercent: 50}
  slowStart: 30s
  subset: 20
  maxRequestsPerEndpoint: 1000
config: [shop-common, inventory]`},
		{name: "outside the cluster", kind: "Service", spec: `
endpoints:
- {address: 192.0.2.10, port: 8080, zone: dc-1, tls: {spiffeID: "spiffe://cluster.local/ns/shop/sa/inventory"}}
- {address: "2001:db8::10", port: 8080, tls: {spiffeID: "spiffe://cluster.local/ns/shop/sa/inventory"}}`},
		{name: "a client only", kind: "Service", spec: `clientOnly: true`},
		{name: "someone else's core Service", kind: "Service", spec: `coreService: Existing`},
		{name: "retries by attempts alone", kind: "Service", spec: `
selector: {app: a}
traffic: {retry: {attempts: 2}}`},
		{name: "the longest name", kind: "Service", as: "a23456789-123456789-123456789-123456789-123456789-123456789-123",
			spec: `selector: {app: a}`},
		{name: "the shortest certificate", kind: "Service", spec: `
selector: {app: a}
identity: {duration: 30s}`},

		{name: "every way to name callers and targets", kind: "AccessRule", spec: `
action: Allow
mode: Enforce
from:
- {service: {name: orders}}
- {service: {name: billing, namespace: finance}}
- {serviceAccount: {name: batch, namespace: jobs}}
- {everyoneIn: monitoring}
- {spiffeID: "spiffe://cluster.local/ns/a/sa/b"}
- {anyone: Authenticated}
to:
- {service: {name: inventory, methods: ["shop.v1.Inventory/Reserve", "shop.v1.Inventory/Get*"]}}
- {topic: {name: order-events, verbs: [Publish, Subscribe]}}
conditions: [{cel: 'header("x-tenant") == source.namespace'}]
expires: "2027-01-01T00:00:00Z"`},
		{name: "no more than is required", kind: "AccessRule", spec: `
action: Deny
from: [{anyone: Anonymous}]
to: [{service: {name: inventory, methods: ["*"]}}]`},
		{name: "audited until a time", kind: "AccessRule", spec: `
action: Allow
mode: Audit
from: [{serviceAccount: {name: batch}}]
to: [{service: {name: inventory, methods: ["shop.v1.Inventory/*"]}}]
expires: "2027-01-01T00:00:00Z"`},

		{name: "every kind of layer", kind: "ConfigSource", spec: `
layers:
- {name: defaults, inline: "checkout: {timeout: 2s}"}
- {name: shared, configMap: {name: shared, key: app.yaml}, onFailure: Skip}
- {name: secrets, secret: {name: shop-secrets}}
- {name: live, etcd: {endpoints: ["https://etcd:2379"], prefix: /config/shop/}}
- {name: flags, http: {url: "https://flags.example/shop.json", refresh: 30s}}
schema: |
  {"type": "object"}
pin: ""`},
		{name: "one layer, pinned", kind: "ConfigSource", spec: `
layers: [{name: defaults, secret: {name: s, key: k}}]
pin: 0a1b2c3d`},

		{name: "everything", kind: "Topic", spec: `
provider: NATS
retention: {maxAge: 72h, maxBytes: 1Gi, maxMessages: 1000000}
replicas: 3
storage: File
dedupeWindow: 2m
delivery: {ackWait: 30s, maxDeliver: 5, backoff: [1s, 5s, 30s]}
deadLetter: true
contentType: application/json
deletionPolicy: Retain`},
		{name: "nothing", kind: "Topic", spec: `{}`},
		{name: "bytes without a unit", kind: "Topic", spec: `retention: {maxBytes: "999999999999999999"}`},
	}
}
