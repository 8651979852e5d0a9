import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PLANTED_BUGS } from './planted-bugs.ts'

/**
 * Loaded before the simulation by `node --import`, with the name of a bug in `PLANTED_BUG`: puts the
 * bug into the code as it is loaded. So no switch for a bug is in the shipped code.
 */
const name = process.env.PLANTED_BUG ?? ''
const bug = PLANTED_BUGS[name]
if (bug === undefined) throw new Error(`No planted bug is called "${name}"`)
const url = pathToFileURL(join(import.meta.dirname, '../..', bug.file)).href

registerHooks({
  load(asked, context, next) {
    const loaded = next(asked, context)
    if (asked !== url) return loaded
    const source = String(loaded.source)
    if (source.split(bug.good).length !== 2) throw new Error(`${bug.file} has changed`)
    return { ...loaded, source: source.replace(bug.good, () => bug.bad) }
  },
})
