import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'

/** The top of the repository, where every child runs. */
export const repositoryPath = fileURLToPath(new URL('../..', import.meta.url))

/** The program to run with Node. */
export const wranglerPath = fileURLToPath(
  new URL('../bin/wrangler.js', import.meta.resolve('wrangler')),
)

const READY_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 5_000
/** A gateway left running for days must not fill memory with its own log. */
const MAX_LOG_CHARACTERS = 1_000_000

/** What wrangler needs in order to ask nothing and to send nothing anywhere. */
export const quietWranglerEnvironment = {
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  WRANGLER_SEND_METRICS: 'false',
} as const

export interface WranglerDevOptions {
  /** Named in error messages. */
  readonly name: string
  /** Path of the wrangler.toml, from the top of the repository. */
  readonly configPath: string
  /** 0 takes a free one. */
  readonly port: number
  /** An env file that replaces `.dev.vars` and wins over `[vars]`. */
  readonly envFilePath?: string
  /** Where storage is kept, so that it does not mix with that of other runs. */
  readonly persistPath: string
  /** Sees the output as it comes. */
  readonly onOutput?: (text: string) => void
}

/** A `wrangler dev` process that answers. */
export interface WranglerDev {
  readonly url: string
  /** The output so far; of very much output only the end. */
  log(): string
  /** Settles when the process has ended, with its exit code. */
  readonly exited: Promise<number>
  /** Ends the process. May be called more than once. */
  stop(): Promise<void>
}

/**
 * Runs a Worker under `wrangler dev`. It is the only local way in which a client that goes away is
 * noticed upstream as it is in production: over real sockets, in real workerd.
 *
 * @throws when the process ends, or does not answer within a minute; the message holds its output
 */
export async function startWranglerDev(options: WranglerDevOptions): Promise<WranglerDev> {
  const child = spawn(process.execPath, [wranglerPath, ...wranglerArguments(options)], {
    cwd: repositoryPath,
    env: { ...process.env, ...quietWranglerEnvironment, X_LOCAL_OBSERVABILITY: 'false' },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let log = ''
  const collect = (chunk: Buffer): void => {
    log = (log + chunk.toString()).slice(-MAX_LOG_CHARACTERS)
    options.onOutput?.(chunk.toString())
  }
  child.stdout?.on('data', collect)
  child.stderr?.on('data', collect)
  const exited = exitCode(child)
  const stop = (): Promise<void> => terminate(child, exited)
  const killAtExit = (): void => void child.kill('SIGTERM')
  process.once('exit', killAtExit)
  child.once('exit', () => process.removeListener('exit', killAtExit))

  try {
    const port = await readyPort(child, exited)
    return { url: `http://localhost:${port}`, log: () => log, exited, stop }
  } catch (error) {
    await stop()
    throw new Error(`${options.name} did not start:\n${log}`, { cause: error })
  }
}

function wranglerArguments(options: WranglerDevOptions): string[] {
  const envFile = options.envFilePath === undefined ? [] : ['--env-file', options.envFilePath]
  return [
    ...['dev', '--config', options.configPath],
    // The top level, whatever CLOUDFLARE_ENV says.
    ...['--env', ''],
    ...['--port', String(options.port), '--inspector-port', '0'],
    ...['--persist-to', options.persistPath],
    ...['--show-interactive-dev-session', 'false'],
    ...envFile,
  ]
}

/** Wrangler tells its parent when it serves, and on which port. */
async function readyPort(child: ChildProcess, exited: Promise<number>): Promise<number> {
  const ready = new Promise<number>((resolve) => {
    child.on('message', (message) => {
      const port = portOfReadyMessage(message)
      if (port !== null) resolve(port)
    })
  })
  const ended = exited.then((code) => {
    throw new Error(`wrangler dev ended with code ${code}`)
  })
  const timeout = new AbortController()
  const late = once(timeout.signal, 'abort').then(() => {
    throw new Error(`no answer within ${READY_TIMEOUT_MS} ms`)
  })
  const timer = setTimeout(() => timeout.abort(), READY_TIMEOUT_MS)
  try {
    return await Promise.race([ready, ended, late])
  } finally {
    clearTimeout(timer)
  }
}

function portOfReadyMessage(message: unknown): number | null {
  if (typeof message !== 'string') return null
  const parsed: unknown = JSON.parse(message)
  if (typeof parsed !== 'object' || parsed === null) return null
  if (!('event' in parsed) || parsed.event !== 'DEV_SERVER_READY') return null
  return 'port' in parsed && typeof parsed.port === 'number' ? parsed.port : null
}

function exitCode(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once('error', () => resolve(1))
    child.once('exit', (code) => resolve(code ?? 1))
  })
}

async function terminate(child: ChildProcess, exited: Promise<number>): Promise<void> {
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await exited
  clearTimeout(timer)
}

/** Whether somebody already answers on a port of this machine, on whichever of its addresses. */
export async function isPortTaken(port: number): Promise<boolean> {
  const socket = connect({ port, host: 'localhost' })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
