import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { RunScope } from './run-scope.ts'
import { type WorkerdConfig, workerdConfigText } from './workerd-config.ts'

const START_TIMEOUT_MS = 20_000
const MAX_LOG_CHARACTERS = 20_000

/** The workerd that wrangler itself runs. Its package says where the program of this platform is. */
function workerdPath(): string {
  const wrangler = createRequire(import.meta.url).resolve('wrangler')
  const workerd: { readonly default: string } = createRequire(wrangler)('workerd')
  return workerd.default
}

/** A workerd process that listens. */
export interface Workerd {
  readonly pid: number
  /** From its start until it listened, in milliseconds: its Workers' modules are evaluated by then. */
  readonly startedMs: number
  /** The port of a socket of the configuration, or of `inspector`. */
  port(socket: string): number
  stop(): Promise<void>
}

export interface WorkerdOptions {
  /** Whether a profiler can be attached, which costs a little by itself. */
  readonly inspect?: boolean
  /** Gets all that it says, in pieces. */
  readonly onLog?: ((text: string) => void) | null
}

/**
 * @param folder of the configuration and of the modules that it names
 * @throws when it ends or does not listen in time; the message holds what it said
 */
export async function startWorkerd(
  scope: RunScope,
  folder: string,
  config: WorkerdConfig,
  { inspect = false, onLog = null }: WorkerdOptions = {},
): Promise<Workerd> {
  const configPath = join(folder, 'config.capnp')
  writeFileSync(configPath, workerdConfigText(config))
  const inspector = inspect ? ['--inspector-addr=127.0.0.1:0'] : []
  const beganMs = performance.now()
  const child = scope.spawn(workerdPath(), ['serve', '--control-fd=3', ...inspector, configPath], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  // The log goes to a pipe, as it does where it is collected, and has to be drained.
  if (onLog === null) child.stdout?.resume()
  else child.stdout?.on('data', (chunk: Buffer) => onLog(chunk.toString()))
  let complaints = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    complaints = (complaints + chunk.toString()).slice(-MAX_LOG_CHARACTERS)
    onLog?.(chunk.toString())
  })
  const expected = config.sockets.length + inspector.length
  const ports = await listening(child, expected, () => complaints)
  const { pid } = child
  if (pid === undefined) throw new Error('workerd has no process id')
  return {
    pid,
    startedMs: performance.now() - beganMs,
    port(socket) {
      const port = ports.get(socket)
      if (port === undefined) throw new Error(`workerd has no socket ${socket}`)
      return port
    },
    stop: () => scope.stop(child),
  }
}

/** Waits until all sockets are open. workerd tells of each on a pipe, by a line of JSON. */
async function listening(
  child: ChildProcess,
  expected: number,
  complaints: () => string,
): Promise<ReadonlyMap<string, number>> {
  const ports = new Map<string, number>()
  const control = child.stdio[3] as Readable
  return await new Promise((resolve, reject) => {
    const fail = (what: string) => reject(new Error(`workerd ${what}:\n${complaints()}`))
    const timer = setTimeout(() => fail('did not listen in time'), START_TIMEOUT_MS)
    child.once('error', (error) => fail(error.message))
    child.once('exit', (code) => fail(`ended with code ${code}`))
    let text = ''
    control.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) notePort(line, ports)
      if (ports.size < expected) return
      clearTimeout(timer)
      resolve(ports)
    })
  })
}

function notePort(line: string, ports: Map<string, number>): void {
  const told: { event?: string; socket?: string; port?: number } = JSON.parse(line)
  if (told.port === undefined) return
  if (told.event === 'listen-inspector') ports.set('inspector', told.port)
  else if (told.socket !== undefined) ports.set(told.socket, told.port)
}
