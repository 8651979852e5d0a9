import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PoolSnapshot } from '../../src/balancing/snapshot.ts'
import type { ExchangeReply, ExchangeRequest } from '../../src/key-pool/protocol.ts'
import {
  bundleForDeployment,
  bundleOfBench,
  folderOf,
  readDeployment,
} from '../bench/processes/deployment.ts'
import type { RunScope } from '../bench/processes/run-scope.ts'
import { startWorkerd } from '../bench/processes/workerd.ts'
import type { Binding } from '../bench/processes/workerd-config.ts'

/** A message between a Worker and the pool's object that is on its way. */
export type Message =
  | { readonly from: string; readonly kind: 'call'; readonly exchange: ExchangeRequest }
  | { readonly from: string; readonly kind: 'answer'; readonly exchange: ExchangeReply }

/** One process with the gateway in it. */
export interface GatewayProcess {
  readonly origin: string
  /** Ends the process at once, as the machine's end would. */
  kill(): void
}

/** Several processes, one of which has the pool's object. */
export interface SharedPool {
  /** A Worker in the process that has the object. */
  readonly survivor: GatewayProcess
  /** A Worker in a process of its own. */
  start(name: string): Promise<GatewayProcess>
  snapshot(): Promise<PoolSnapshot>
  close(): Promise<void>
}

/**
 * Starts the process with the pool's object.
 * @param isLost whether a message between an object and a Worker of another process gets lost
 */
export async function startSharedPool(
  bindings: Readonly<Record<string, Binding>>,
  isLost: (message: Message) => boolean,
): Promise<SharedPool> {
  const { scope, end } = createScope()
  const [deployment, { source }] = await Promise.all([
    readDeployment(scope),
    bundleForDeployment(scope, { entry: 'test/bench/workers/remote-pool.ts' }),
  ])
  const start = async (
    name: string,
    own: Readonly<Record<string, Binding>>,
    sockets = ['http'],
  ) => {
    const folder = folderOf(scope, name, { 'main.js': source, 'kv.js': bundleOfBench('kv') })
    const credit = { kind: 'kv', service: 'kv' } as const
    const main = {
      ...{ name: 'main', modulePath: 'main.js', ...deployment },
      bindings: { ...bindings, CREDIT: credit, ...own },
    }
    const workerd = await startWorkerd(scope, folder, {
      workers: [main, { ...main, name: 'kv', modulePath: 'kv.js', bindings: {} }],
      sockets: sockets.map((socket) => ({
        ...{ name: socket, service: 'main' },
        ...(socket === 'http' ? {} : { entrypoint: socket }),
      })),
      storagePath: `${folder}/storage`,
    })
    const originOf = (socket: string) => `http://127.0.0.1:${workerd.port(socket)}`
    const kill = () => void process.kill(workerd.pid, 'SIGKILL')
    return { origin: originOf('http'), kill, originOf }
  }
  const objects = { KEY_POOL: { kind: 'objects', className: 'KeyPool' } } as const
  const host = await start('host', objects, ['http', 'pool'])
  const forward = async (body: string) =>
    await (await fetch(host.originOf('pool'), { method: 'POST', body })).text()
  const line = await listen(async (request, response) => {
    const from = request.url?.slice(1) ?? ''
    const body = await textOf(request)
    const { method, argument } = JSON.parse(body)
    const isExchange = method === 'exchange'
    if (isExchange && isLost({ from, kind: 'call', exchange: argument })) return
    const answer = await forward(body)
    if (isExchange && isLost({ from, kind: 'answer', exchange: JSON.parse(answer) })) return
    response.end(answer)
  })
  return {
    survivor: host,
    start: (name) => start(name, { POOL_URL: { kind: 'text', value: `${line.origin}/${name}` } }),
    snapshot: async () => JSON.parse(await forward(JSON.stringify({ method: 'snapshot' }))),
    async close() {
      line.close()
      await end()
    },
  }
}

/** A server on a free port of this machine. */
export async function listen(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
) {
  const server = createServer((request, response) => {
    // A process that is killed in the middle of a call breaks it.
    answer(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    origin: `http://127.0.0.1:${port}`,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

export async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** The processes and the folder of one test file. */
function createScope(): { readonly scope: RunScope; end(): Promise<void> } {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-test-'))
  const children = new Set<ChildProcess>()
  const stop = async (child: ChildProcess) => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  const scope: RunScope = {
    folder,
    spawn(command, args, options) {
      const child = spawn(command, args, options)
      children.add(child)
      return child
    },
    stop,
  }
  return {
    scope,
    async end() {
      await Promise.all([...children].map(stop))
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    },
  }
}
