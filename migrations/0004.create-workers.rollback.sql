DROP TABLE worker_beats;
DROP TABLE workers;
