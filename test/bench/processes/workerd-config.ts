/** A value that a Worker finds in its environment. */
export type Binding =
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'json'; readonly value: unknown }
  /** A namespace of a Durable Object class that the Worker itself exports. */
  | { readonly kind: 'objects'; readonly className: string }
  /** A KV namespace, kept by the Worker of that name. */
  | { readonly kind: 'kv'; readonly service: string }

export interface WorkerConfig {
  readonly name: string
  /** Of its only module, an ES module, from the folder of the configuration. */
  readonly modulePath: string
  readonly compatibilityDate: string
  readonly compatibilityFlags: readonly string[]
  readonly bindings: Readonly<Record<string, Binding>>
}

export interface SocketConfig {
  readonly name: string
  /** The Worker that answers, and which of its handlers; its default one where none is named. */
  readonly service: string
  readonly entrypoint?: string
}

export interface WorkerdConfig {
  readonly workers: readonly WorkerConfig[]
  readonly sockets: readonly SocketConfig[]
  /** Where Durable Objects keep their databases. */
  readonly storagePath: string
}

/**
 * What `workerd serve` is given. Workers reach this machine, where the upstream is, and nothing
 * else; each socket takes a free port, which workerd tells.
 */
export function workerdConfigText({ workers, sockets, storagePath }: WorkerdConfig): string {
  const services = [
    ...workers.map(workerText),
    '(name = "internet", network = (allow = ["local"]))',
    `(name = "storage", disk = (path = ${quoted(storagePath)}, writable = true))`,
  ]
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = ${listText(services)},
  sockets = ${listText(sockets.map(socketText))}
);
`
}

function workerText(worker: WorkerConfig): string {
  const bindings = Object.entries(worker.bindings)
  const classNames = new Set(
    bindings.flatMap(([, binding]) => (binding.kind === 'objects' ? [binding.className] : [])),
  )
  const namespaces = [...classNames].map(
    (className) =>
      `(className = ${quoted(className)}, uniqueKey = ${quoted(className)}, enableSql = true)`,
  )
  return `(name = ${quoted(worker.name)}, worker = (
    modules = [(name = "worker.js", esModule = embed ${quoted(worker.modulePath)})],
    compatibilityDate = ${quoted(worker.compatibilityDate)},
    compatibilityFlags = [${worker.compatibilityFlags.map(quoted).join(', ')}],
    bindings = ${listText(bindings.map(([name, binding]) => bindingText(name, binding)))},
    durableObjectNamespaces = ${listText(namespaces)},
    durableObjectStorage = (localDisk = "storage")
  ))`
}

function bindingText(name: string, binding: Binding): string {
  return `(name = ${quoted(name)}, ${bindingValue(binding)})`
}

function bindingValue(binding: Binding): string {
  switch (binding.kind) {
    case 'text':
      return `text = ${quoted(binding.value)}`
    case 'json':
      return `json = ${quoted(JSON.stringify(binding.value))}`
    case 'objects':
      return `durableObjectNamespace = ${quoted(binding.className)}`
    case 'kv':
      return `kvNamespace = ${quoted(binding.service)}`
  }
}

function socketText({ name, service, entrypoint }: SocketConfig): string {
  const target = `name = ${quoted(service)}`
  const designator =
    entrypoint === undefined ? target : `${target}, entrypoint = ${quoted(entrypoint)}`
  return `(name = ${quoted(name)}, address = "127.0.0.1:0", http = (), service = (${designator}))`
}

function listText(items: readonly string[]): string {
  return items.length === 0 ? '[]' : `[\n    ${items.join(',\n    ')}\n  ]`
}

/** Cap'n Proto's texts have C's escapes, of which these three are all that is needed. */
function quoted(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
  return `"${escaped}"`
}
