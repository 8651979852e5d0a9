import { listen } from '../../simulator/listen.ts'

/** The simulator in a process of its own, so that its work and the load's do not wait for each other. */
const { url } = await listen()
process.send?.(url.origin)
process.once('disconnect', () => process.exit(0))
