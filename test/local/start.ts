import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { holdsOpenRouterKey } from './env-file.ts'
import { faultyStart, localBindings, localFaults } from './local-configuration.ts'
import {
  DEMO_TOKEN,
  LOCAL_ADMIN_TOKEN,
  type Stack,
  simulatedEnvironment,
  startStack,
} from './stack.ts'
import { costlyGreeting, costWarning, simulatedGreeting } from './start-text.ts'
import { joinBatches } from './with-batches.ts'
import {
  isPortTaken,
  portOfReadyMessage,
  quietCron,
  quietWranglerEnvironment,
  repositoryPath,
  startCron,
  wranglerPath,
} from './wrangler-dev.ts'

/**
 * `npm start`: runs the gateway on this machine. If `.dev.vars` holds a key of OpenRouter, upstream
 * is OpenRouter. Otherwise upstream is the simulator, and a try costs nothing.
 *
 * The gateway does not start over a faulty configuration: it would answer every request with 500.
 */
async function main(): Promise<void> {
  const port = readPort()
  if (port === null) return fail('usage: npm start -- [--port <1-65535>]')
  if (await isPortTaken(port)) {
    return fail(`Port ${port} is taken. Choose another: npm start -- --port ${port + 1}`)
  }
  const devVarsPath = join(repositoryPath, '.dev.vars')
  const devVars = existsSync(devVarsPath) ? readFileSync(devVarsPath, 'utf8') : ''
  const isCostly = holdsOpenRouterKey(devVars)
  const local = localBindings(repositoryPath, isCostly ? undefined : simulatedEnvironment())
  const faults = await localFaults(local)
  if (!local.ok || faults.length > 0) return fail(faultyStart(faults))
  if (isCostly) await runAgainstOpenRouter(port, local.bindings)
  else await runAgainstSimulator(port)
}

function readPort(): number | null {
  try {
    const { values } = parseArgs({ options: { port: { type: 'string', default: '8787' } } })
    const port = Number(values.port)
    return Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : null
  } catch {
    return null
  }
}

function fail(message: string): void {
  console.error(message)
  process.exitCode = 1
}

async function runAgainstOpenRouter(
  port: number,
  bindings: Readonly<Record<string, unknown>>,
): Promise<void> {
  console.log(costWarning(bindings.UPSTREAM_URL))
  const dev = [
    ...[wranglerPath, 'dev', '--env', '', '--port', `${port}`, quietCron],
    // Where they are without batches: beside wrangler.toml.
    ...['--config', joinBatches(), '--env-file', '.dev.vars', '--persist-to', '.wrangler/state'],
  ]
  const child = spawn(process.execPath, dev, {
    cwd: repositoryPath,
    env: { ...process.env, ...quietWranglerEnvironment },
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  })
  const url = `http://localhost:${port}`
  const greeting = await costlyGreeting(url, bindings)
  child.on('message', (message) => {
    if (portOfReadyMessage(message) !== null) console.log(greeting)
  })
  startCron(url)
  onSignal((signal) => child.kill(signal))
  child.once('error', (error) => fail(`wrangler could not be run: ${error.message}`))
  child.once('exit', (code) => process.exit(code ?? 1))
}

async function runAgainstSimulator(port: number): Promise<void> {
  console.log('No key of OpenRouter in .dev.vars: starting the simulator in its place.')
  let stack: Stack | null = null
  let stopping = false
  // Before the start: processes of an incomplete start are also ended, when this process exits.
  onSignal(async () => {
    stopping = true
    await stack?.stop()
    process.exit(0)
  })
  stack = await startStack({
    gatewayPort: port,
    env: { ADMIN_TOKEN: LOCAL_ADMIN_TOKEN },
    // What the processes print while they are ended, such as a trace of esbuild's, helps nobody.
    onGatewayOutput: (text) => {
      if (!stopping) process.stdout.write(text)
    },
  })
  const tokens = { client: DEMO_TOKEN, admin: LOCAL_ADMIN_TOKEN }
  console.log(simulatedGreeting(stack.gatewayUrl, stack.simulatorUrl, tokens))
  const code = await stack.exited
  if (stopping) return
  await stack.stop()
  fail(`A process of the stack ended with code ${code}.`)
  process.exit(code === 0 ? 1 : code)
}

function onSignal(act: (signal: NodeJS.Signals) => unknown): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, act)
}

try {
  await main()
} catch (error) {
  fail(error instanceof Error ? error.message : String(error))
}
