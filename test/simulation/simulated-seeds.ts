import { spawn } from 'node:child_process'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

export interface SimulatedSeeds {
  readonly code: number | null
  readonly text: string
}

/**
 * Runs the simulation in a process of its own, where nothing stands between it and the code.
 * @param plantedBug the name of a bug that is put into the code; null for the code as it is
 */
export async function simulate(
  given: readonly string[],
  plantedBug: string | null = null,
): Promise<SimulatedSeeds> {
  const hook = plantedBug === null ? [] : ['--import', './test/simulation/plant-hook.ts']
  const script = ['--disable-warning=ExperimentalWarning', ...hook, 'test/simulation/simulate.ts']
  const env = { ...process.env, ...(plantedBug === null ? {} : { PLANTED_BUG: plantedBug }) }
  const child = spawn(join(ROOT, 'node_modules/.bin/node'), [...script, ...given], {
    cwd: ROOT,
    env,
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      text += chunk
    })
  }
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return { code, text }
}
