-- How many people are in view at a time, and how many pass in five seconds?
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z
  BY TIME 5 sec
  AT 5 FPS
  INTO chunks;

PROCESS chunks USING 'ultralytics' TIMEOUT 5 sec
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (in_view:NUMBER=0, different:NUMBER=0)
  INTO seen;

SELECT AVG(RANGE(in_view, 0, 12)) AS in_view FROM seen CONSUMING 0.5;

SELECT AVG(RANGE(different, 0, 16)) AS different FROM seen CONSUMING 0.5;
