import { render } from "preact";
import { listen } from "./api/events";
import { App } from "./shell/app";
import "./look/base.css";
import "./look/screens.css";
import "./look/annotate.css";

listen();
render(<App />, document.getElementById("page")!);
