import { type Addressee, gatewayBindings } from '../mix.ts'
import { type BenchWorker, bundleOfBench, type Deployment, folderOf } from './deployment.ts'
import type { RunScope } from './run-scope.ts'
import type { Upstream } from './upstream.ts'
import { startWorkerd, type Workerd } from './workerd.ts'
import type { SocketConfig, WorkerConfig } from './workerd-config.ts'

/** Something that answers requests of the mix. */
export interface Target {
  readonly name: string
  readonly to: Addressee
  readonly host: string
  readonly port: number
  /** Of the process whose processor time and memory are its cost; null where that is not known. */
  readonly pid: number | null
  stop(): Promise<void>
}

const PATH = '/api/v1'

export function upstreamTarget({ port, pid }: Upstream): Target {
  const host = '127.0.0.1'
  return {
    name: 'upstream alone',
    to: { path: PATH, host, knowsAliases: false },
    host,
    port,
    pid,
    stop: async () => undefined,
  }
}

/** A Worker of the bench before the upstream. */
export async function startBenchWorker(
  scope: RunScope,
  deployment: Deployment,
  upstream: Upstream,
  kind: BenchWorker,
  name: string,
): Promise<Target & { readonly workerd: Workerd }> {
  const folder = folderOf(scope, name.replaceAll(' ', '-'), { 'main.js': bundleOfBench(kind) })
  const url = `http://127.0.0.1:${upstream.port}`
  const main = mainWorker(deployment, { UPSTREAM_URL: { kind: 'text', value: url } })
  const workerd = await startWorkerd(scope, folder, {
    workers: [main],
    sockets: [{ name: 'http', service: 'main' }],
    storagePath: `${folder}/storage`,
  })
  return { ...targetOf(name, workerd, false), workerd }
}

export interface GatewayOptions {
  readonly name: string
  /** The bundled Worker. */
  readonly source: string
  readonly inspect?: boolean
  /** Whether the Worker has the entrypoint that tells its counts. */
  readonly counting?: boolean
  /** Variables and secrets in place of the mix's. */
  readonly bindings?: WorkerConfig['bindings']
  /** Gets all that workerd says, in pieces. */
  readonly onLog?: (text: string) => void
}

/** The gateway before the upstream, with the bindings of the mix and storage of its own. */
export async function startGateway(
  scope: RunScope,
  deployment: Deployment,
  upstream: Pick<Upstream, 'port'>,
  { name, source, inspect = false, counting = false, bindings = {}, onLog }: GatewayOptions,
): Promise<Target & { readonly workerd: Workerd }> {
  const folder = folderOf(scope, name.replaceAll(' ', '-'), {
    'main.js': source,
    'kv.js': bundleOfBench('kv'),
  })
  const main = mainWorker(deployment, {
    ...gatewayBindings(upstream.port),
    ...bindings,
    KEY_POOL: { kind: 'objects', className: 'KeyPool' },
    FLIGHT: { kind: 'objects', className: 'Flight' },
    CREDIT: { kind: 'kv', service: 'kv' },
  })
  const kv = { ...main, name: 'kv', modulePath: 'kv.js', bindings: {} }
  const counter: SocketConfig = { name: 'counter', service: 'main', entrypoint: 'counter' }
  const config = {
    workers: [main, kv],
    sockets: [{ name: 'http', service: 'main' }, ...(counting ? [counter] : [])],
    storagePath: `${folder}/storage`,
  }
  const workerd = await startWorkerd(scope, folder, config, { inspect, onLog: onLog ?? null })
  return { ...targetOf(name, workerd, true), workerd }
}

function mainWorker(deployment: Deployment, bindings: WorkerConfig['bindings']): WorkerConfig {
  return { name: 'main', modulePath: 'main.js', ...deployment, bindings }
}

function targetOf(name: string, workerd: Workerd, knowsAliases: boolean): Target {
  const host = '127.0.0.1'
  const port = workerd.port('http')
  return {
    name,
    to: { path: PATH, host: `${host}:${port}`, knowsAliases },
    host,
    port,
    pid: workerd.pid,
    stop: () => workerd.stop(),
  }
}

/**
 * Another gateway, wherever it runs.
 * @param url up to the name of the API, like `http://localhost:4000/v1`
 * @param pid of its process on this machine, if its cost is to be measured too
 */
export function foreignTarget(url: URL, token: string | undefined, pid: number | null): Target {
  return {
    name: url.host,
    to: {
      path: url.pathname.replace(/\/+$/, ''),
      host: url.host,
      knowsAliases: false,
      ...(token !== undefined && { token }),
    },
    host: url.hostname,
    port: Number(url.port || 80),
    pid,
    stop: async () => undefined,
  }
}
