import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The root of the repository. Every child process runs there. */
export const repositoryPath = fileURLToPath(new URL('../..', import.meta.url))

/** Wrangler's program, to run with Node. */
export const wranglerPath = join(
  dirname(createRequire(import.meta.url).resolve('wrangler')),
  '../bin/wrangler.js',
)

const READY_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 5_000
/** A gateway that runs for days must not fill the memory with its log. */
const MAX_LOG_CHARACTERS = 1_000_000

/**
 * The variables that keep wrangler from fetching data and from sending metrics. With its banner
 * wrangler asks the npm registry for a newer version at each start.
 */
export const quietWranglerEnvironment = {
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_HIDE_BANNER: 'true',
} as const

/**
 * Wrangler warns that it never fires cron triggers by itself, unless it is to test them by hand. Here
 * `startCron` does.
 */
export const quietCron = '--test-scheduled'

/**
 * Wrangler compares the committed types with what it would make of the configuration that it runs, here
 * a temporary one. A newcomer would look for the fault that it tells of; `npm run check` looks for it.
 */
const TYPES_HINT = /\n?[^\n]*Your types might be out of date\.[^\n]*\n/

/** What Wrangler prints, without what only misleads. */
export function withoutTypesHint(output: string): string {
  return output.replace(TYPES_HINT, '')
}

const CRON_EVERY_MS = 60_000

/**
 * Fires a gateway's cron trigger once a minute, as the platform does. Returns what stops it. A minute
 * in which the gateway does not answer is passed over.
 */
export function startCron(gatewayUrl: string): () => void {
  const url = `${gatewayUrl}/cdn-cgi/local/scheduled`
  const fire = async () => {
    const response = await fetch(url).catch(() => null)
    await response?.body?.cancel()
  }
  const timer = setInterval(fire, CRON_EVERY_MS)
  // It keeps no process alive whose gateway has ended.
  timer.unref()
  return () => clearInterval(timer)
}

export interface WranglerDevOptions {
  /** For error messages. */
  readonly name: string
  /** The path of the wrangler.toml, from the root of the repository. */
  readonly configPath: string
  /** 0 takes a free port. */
  readonly port: number
  /** An env file that replaces `.dev.vars` and wins over `[vars]`. */
  readonly envFilePath?: string
  /** The folder for the storage. Each run needs its own, so that runs do not share storage. */
  readonly persistPath: string
  /** Receives the output as it arrives. */
  readonly onOutput?: (text: string) => void
}

/** A `wrangler dev` process that is ready for requests. */
export interface WranglerDev {
  readonly url: string
  /** The output so far: at most its last million characters. */
  log(): string
  /** Settles with the exit code when the process has ended. */
  readonly exited: Promise<number>
  /** Ends the process. It may be called more than once. */
  stop(): Promise<void>
}

/**
 * Runs a Worker under `wrangler dev`, with real sockets and the real workerd. No other local way
 * shows upstream that a client has left, as production does.
 *
 * @throws if the process ends, or is not ready within a minute; the message holds wrangler's error as
 *   one sentence, or else all of its output
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
    options.onOutput?.(withoutTypesHint(chunk.toString()))
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
    throw new Error(`${options.name} did not start: ${startFault(log, error)}`, { cause: error })
  }
}

/** Wrangler's own error as one sentence. Without one, all that it said. */
export function startFault(log: string, error: unknown): string {
  const [, text = ''] = /\[ERROR\]\s*([\s\S]*?)(?=\n\s*\n|$)/.exec(log) ?? []
  const sentence = text.replace(/\s+/g, ' ').trim()
  if (sentence !== '') return sentence
  return `${error instanceof Error ? error.message : error}. Its output:\n${log}`
}

function wranglerArguments(options: WranglerDevOptions): string[] {
  const envFile = options.envFilePath === undefined ? [] : ['--env-file', options.envFilePath]
  return [
    ...['dev', '--config', options.configPath],
    // The top level of the configuration, also if CLOUDFLARE_ENV names another environment.
    ...['--env', ''],
    ...['--port', String(options.port), '--inspector-port', '0'],
    ...['--persist-to', options.persistPath],
    ...['--show-interactive-dev-session', 'false', quietCron],
    ...envFile,
  ]
}

/** The port that wrangler serves on, from its message to this process when it is ready. */
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

/** The port in wrangler's message to its parent that it serves now; null in any other message. */
export function portOfReadyMessage(message: unknown): number | null {
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

/** Whether a process already listens on a port of this machine, on any address of `localhost`. */
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
