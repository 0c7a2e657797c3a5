// Runs once for all tabs of a browser (SharedWorker): a browser opens only six connections to a server, so
// fifty tabs cannot have a stream each.
import { follow } from "./follow.js";

const ports = new Set();
let last = null;

follow((message) => {
  if (!message.login) last = message;
  for (const port of ports) port.postMessage(message);
});

self.onconnect = ({ ports: [port] }) => {
  ports.add(port);
  port.onmessage = () => ports.delete(port); // all that a tab ever says: it leaves
  if (last) port.postMessage(last);
};
