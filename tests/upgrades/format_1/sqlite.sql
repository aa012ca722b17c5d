PRAGMA application_id = 1181513080;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE fixed (
    id TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);
INSERT INTO "fixed" VALUES('completed','{"format":1,"input":{"sku":"article completed","total":900.0,"notes":["fragile"]},"data":{"reservation":null,"paid":0.0,"approved_by":[]},"shape":[["reserve","step",false,[]],["charge","step",true,["reserve"]],["approval","wait",false,["charge"]],["ship","step",false,["approval"]]],"deadline":"2026-04-01T00:00:00+00:00"}');
INSERT INTO "fixed" VALUES('suspended','{"format":1,"input":{"sku":"article suspended","total":900.0,"notes":["fragile"]},"data":{"reservation":null,"paid":0.0,"approved_by":[]},"shape":[["reserve","step",false,[]],["charge","step",true,["reserve"]],["approval","wait",false,["charge"]],["ship","step",false,["approval"]]],"deadline":"2026-04-01T00:02:00+00:00"}');
INSERT INTO "fixed" VALUES('unread','{"format":1,"input":{"sku":"article unread","total":900.0,"notes":["fragile"]},"data":{"reservation":null,"paid":0.0,"approved_by":[]},"shape":[["reserve","step",false,[]],["charge","step",true,["reserve"]],["approval","wait",false,["charge"]],["ship","step",false,["approval"]]],"deadline":"2026-04-01T00:03:00+00:00"}');
INSERT INTO "fixed" VALUES('paused','{"format":1,"input":{"sku":"article paused","total":900.0,"notes":["fragile"]},"data":{"reservation":null,"paid":0.0,"approved_by":[]},"shape":[["reserve","step",false,[]],["charge","step",true,["reserve"]],["approval","wait",false,["charge"]],["ship","step",false,["approval"]]],"deadline":"2026-04-01T00:05:00+00:00"}');
INSERT INTO "fixed" VALUES('cancelled','{"format":1,"input":{"sku":"article cancelled","total":900.0,"notes":["fragile"]},"data":{"reservation":null,"paid":0.0,"approved_by":[]},"shape":[["reserve","step",false,[]],["charge","step",true,["reserve"]],["approval","wait",false,["charge"]],["ship","step",false,["approval"]]],"deadline":"2026-04-01T00:07:00+00:00"}');
INSERT INTO "fixed" VALUES('abandoned','{"format":1,"input":{"dies_in":["hotel"]},"data":{},"shape":[["flight","step",false,[]],["hotel","step",false,["flight"]],["car","step",false,["hotel"]]]}');
INSERT INTO "fixed" VALUES('rolled_back','{"format":1,"input":{"fails_in":["car"]},"data":{},"shape":[["flight","step",false,[]],["hotel","step",false,["flight"]],["car","step",false,["hotel"]]]}');
INSERT INTO "fixed" VALUES('rolling_back','{"format":1,"input":{"fails_in":["car"],"dies_in":["undo hotel"]},"data":{},"shape":[["flight","step",false,[]],["hotel","step",false,["flight"]],["car","step",false,["hotel"]]]}');
INSERT INTO "fixed" VALUES('rollback_failed','{"format":1,"input":{"fails_in":["car","undo hotel"]},"data":{},"shape":[["flight","step",false,[]],["hotel","step",false,["flight"]],["car","step",false,["hotel"]]]}');
INSERT INTO "fixed" VALUES('settled','{"format":1,"input":{"fails_in":["car","undo hotel"]},"data":{},"shape":[["flight","step",false,[]],["hotel","step",false,["flight"]],["car","step",false,["hotel"]]]}');
INSERT INTO "fixed" VALUES('restarted','{"format":1,"input":{},"data":{},"shape":[["flight","step",false,[]],["hotel","step",false,["flight"]],["car","step",false,["hotel"]]]}');
INSERT INTO "fixed" VALUES('cancelling','{"format":1,"input":{"dies_in":["undo hotel"]},"data":{},"shape":[["flight","step",false,[]],["hotel","step",false,["flight"]],["car","step",false,["hotel"]],["invitation","wait",false,["car"]]]}');
INSERT INTO "fixed" VALUES('failed','{"format":1,"input":{"fails_in":["taste"]},"data":{},"shape":[["taste","step",false,[]]]}');
INSERT INTO "fixed" VALUES('napping','{"format":1,"input":{"nap":2592000.0,"ask":0},"data":{},"shape":[["nap","step",false,[]],["ask","step",false,["nap"]],["dial","step",false,["ask"]]]}');
INSERT INTO "fixed" VALUES('asking','{"format":1,"input":{"nap":0,"ask":2592000.0},"data":{},"shape":[["nap","step",false,[]],["ask","step",false,["nap"]],["dial","step",false,["ask"]]]}');
INSERT INTO "fixed" VALUES('dialling','{"format":1,"input":{"nap":0,"ask":0,"fails_in":["dial"]},"data":{},"shape":[["nap","step",false,[]],["ask","step",false,["nap"]],["dial","step",false,["ask"]]]}');
INSERT INTO "fixed" VALUES('parked','{"format":1,"input":{"dies_in":["taste"]},"data":{},"shape":[["taste","step",false,[]]]}');
CREATE TABLE history (
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id, number)
);
INSERT INTO "history" VALUES('completed',1,'{"format":1,"step":"reserve","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:00:00+00:00","ended_at":"2026-01-01T00:00:00+00:00","output":"reserved","set":{"reservation":"place of article completed"},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('completed',2,'{"format":1,"step":"charge","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:00:00+00:00","ended_at":"2026-01-01T00:00:00+00:00","output":900.0,"set":{"paid":900.0},"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('completed',3,'{"format":1,"step":"approval","status":"completed","place":3,"attempts":1,"started_at":"2026-01-01T00:00:00+00:00","ended_at":"2026-01-01T00:01:00+00:00","output":{"by":"kim","at":[1,2.5,null,true,"ä"]},"set":{},"finished":4,"folded":3,"outcome":"completed","suspended_at":"2026-01-01T00:00:00+00:00"}');
INSERT INTO "history" VALUES('completed',5,'{"format":1,"step":"ship","status":"completed","place":5,"attempts":1,"started_at":"2026-01-01T00:01:00+00:00","ended_at":"2026-01-01T00:01:00+00:00","output":null,"set":{"approved_by":["kim"]},"finished":5,"folded":5,"outcome":"completed"}');
INSERT INTO "history" VALUES('suspended',1,'{"format":1,"step":"reserve","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:02:00+00:00","ended_at":"2026-01-01T00:02:00+00:00","output":"reserved","set":{"reservation":"place of article suspended"},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('suspended',2,'{"format":1,"step":"charge","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:02:00+00:00","ended_at":"2026-01-01T00:02:00+00:00","output":900.0,"set":{"paid":900.0},"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('suspended',3,'{"format":1,"step":"approval","status":"suspended","place":3,"attempts":1,"started_at":"2026-01-01T00:02:00+00:00","ended_at":null,"set":{},"waiting":{"signal":"approved","until":"2026-04-01T00:02:00+00:00"},"folded":3,"suspended_at":"2026-01-01T00:02:00+00:00"}');
INSERT INTO "history" VALUES('unread',1,'{"format":1,"step":"reserve","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:03:00+00:00","ended_at":"2026-01-01T00:03:00+00:00","output":"reserved","set":{"reservation":"place of article unread"},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('unread',2,'{"format":1,"step":"charge","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:03:00+00:00","ended_at":"2026-01-01T00:03:00+00:00","output":900.0,"set":{"paid":900.0},"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('unread',3,'{"format":1,"step":"approval","status":"suspended","place":3,"attempts":1,"started_at":"2026-01-01T00:03:00+00:00","ended_at":null,"set":{},"waiting":{"signal":"approved","until":"2026-04-01T00:03:00+00:00"},"folded":3,"suspended_at":"2026-01-01T00:03:00+00:00"}');
INSERT INTO "history" VALUES('paused',1,'{"format":1,"step":"reserve","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:05:00+00:00","ended_at":"2026-01-01T00:05:00+00:00","output":"reserved","set":{"reservation":"place of article paused"},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('paused',2,'{"format":1,"step":"charge","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:05:00+00:00","ended_at":"2026-01-01T00:05:00+00:00","output":900.0,"set":{"paid":900.0},"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('paused',3,'{"format":1,"step":"approval","status":"suspended","place":3,"attempts":1,"started_at":"2026-01-01T00:05:00+00:00","ended_at":null,"set":{},"waiting":{"signal":"approved","until":"2026-04-01T00:05:00+00:00"},"folded":3,"suspended_at":"2026-01-01T00:05:00+00:00"}');
INSERT INTO "history" VALUES('cancelled',1,'{"format":1,"step":"reserve","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:07:00+00:00","ended_at":"2026-01-01T00:07:00+00:00","output":"reserved","set":{"reservation":"place of article cancelled"},"finished":1,"folded":1,"outcome":"completed","compensation":{"status":"completed","attempts":1,"failures":0,"started_at":"2026-01-01T00:08:00+00:00","ended_at":"2026-01-01T00:08:00+00:00","finished":4,"run":1,"set":{"reservation":null}}}');
INSERT INTO "history" VALUES('cancelled',2,'{"format":1,"step":"charge","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:07:00+00:00","ended_at":"2026-01-01T00:07:00+00:00","output":900.0,"set":{"paid":900.0},"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('cancelled',3,'{"format":1,"step":"approval","status":"failed","place":3,"attempts":1,"started_at":"2026-01-01T00:07:00+00:00","ended_at":"2026-01-01T00:08:00+00:00","set":{},"waiting":{"signal":"approved","until":"2026-04-01T00:07:00+00:00"},"folded":3,"outcome":"unknown","suspended_at":"2026-01-01T00:07:00+00:00","error":{"type":"InstanceCancelledError","message":"instance ''cancelled'' was cancelled: a change of mind","traceback":"Traceback (most recent call last): …\n","cause":null}}');
INSERT INTO "history" VALUES('abandoned',1,'{"format":1,"step":"flight","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:09:00+00:00","ended_at":"2026-01-01T00:09:00+00:00","output":"flight of attempt 1","set":{"flight":1},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('rolled_back',1,'{"format":1,"step":"flight","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:10:00+00:00","ended_at":"2026-01-01T00:10:00+00:00","output":"flight of attempt 1","set":{"flight":1},"finished":1,"folded":1,"outcome":"completed","compensation":{"status":"completed","attempts":1,"failures":0,"started_at":"2026-01-01T00:10:00+00:00","ended_at":"2026-01-01T00:10:00+00:00","finished":5,"run":1,"set":{"undone_flight":1}}}');
INSERT INTO "history" VALUES('rolled_back',2,'{"format":1,"step":"hotel","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:10:00+00:00","ended_at":"2026-01-01T00:10:00+00:00","output":"hotel of attempt 1","set":{"hotel":2},"finished":2,"folded":2,"outcome":"completed","compensation":{"status":"completed","attempts":1,"failures":0,"started_at":"2026-01-01T00:10:00+00:00","ended_at":"2026-01-01T00:10:00+00:00","finished":4,"run":1,"set":{"undone_hotel":2}}}');
INSERT INTO "history" VALUES('rolled_back',3,'{"format":1,"step":"car","status":"failed","place":3,"attempts":1,"started_at":"2026-01-01T00:10:00+00:00","ended_at":"2026-01-01T00:10:00+00:00","failures":1,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null},"failed_attempts":[{"number":1,"started_at":"2026-01-01T00:10:00+00:00","ended_at":"2026-01-01T00:10:00+00:00","ended":"failed","error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}]}');
INSERT INTO "history" VALUES('rolling_back',1,'{"format":1,"step":"flight","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:11:00+00:00","ended_at":"2026-01-01T00:11:00+00:00","output":"flight of attempt 1","set":{"flight":1},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('rolling_back',2,'{"format":1,"step":"hotel","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:11:00+00:00","ended_at":"2026-01-01T00:11:00+00:00","output":"hotel of attempt 1","set":{"hotel":2},"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('rolling_back',3,'{"format":1,"step":"car","status":"failed","place":3,"attempts":1,"started_at":"2026-01-01T00:11:00+00:00","ended_at":"2026-01-01T00:11:00+00:00","failures":1,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null},"failed_attempts":[{"number":1,"started_at":"2026-01-01T00:11:00+00:00","ended_at":"2026-01-01T00:11:00+00:00","ended":"failed","error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}]}');
INSERT INTO "history" VALUES('rollback_failed',1,'{"format":1,"step":"flight","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:12:00+00:00","ended_at":"2026-01-01T00:12:00+00:00","output":"flight of attempt 1","set":{"flight":1},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('rollback_failed',2,'{"format":1,"step":"hotel","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:12:00+00:00","ended_at":"2026-01-01T00:12:00+00:00","output":"hotel of attempt 1","set":{"hotel":2},"finished":2,"folded":2,"outcome":"completed","compensation":{"status":"failed","attempts":1,"failures":1,"started_at":"2026-01-01T00:12:00+00:00","ended_at":"2026-01-01T00:12:00+00:00","run":1,"error":{"type":"RuntimeError","message":"undo hotel is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}}');
INSERT INTO "history" VALUES('rollback_failed',3,'{"format":1,"step":"car","status":"failed","place":3,"attempts":1,"started_at":"2026-01-01T00:12:00+00:00","ended_at":"2026-01-01T00:12:00+00:00","failures":1,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null},"failed_attempts":[{"number":1,"started_at":"2026-01-01T00:12:00+00:00","ended_at":"2026-01-01T00:12:00+00:00","ended":"failed","error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}]}');
INSERT INTO "history" VALUES('settled',1,'{"format":1,"step":"flight","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:13:00+00:00","ended_at":"2026-01-01T00:13:00+00:00","output":"flight of attempt 1","set":{"flight":1},"finished":1,"folded":1,"outcome":"completed","compensation":{"status":"completed","attempts":1,"failures":0,"started_at":"2026-01-01T00:14:00+00:00","ended_at":"2026-01-01T00:14:00+00:00","finished":5,"run":1,"set":{"undone_flight":1}}}');
INSERT INTO "history" VALUES('settled',2,'{"format":1,"step":"hotel","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:13:00+00:00","ended_at":"2026-01-01T00:13:00+00:00","output":"hotel of attempt 1","set":{"hotel":2},"finished":2,"folded":2,"outcome":"completed","compensation":{"status":"skipped","attempts":1,"failures":1,"started_at":"2026-01-01T00:13:00+00:00","ended_at":"2026-01-01T00:14:00+00:00","reason":"done by phone","run":1,"error":{"type":"RuntimeError","message":"undo hotel is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}}');
INSERT INTO "history" VALUES('settled',3,'{"format":1,"step":"car","status":"failed","place":3,"attempts":1,"started_at":"2026-01-01T00:13:00+00:00","ended_at":"2026-01-01T00:13:00+00:00","failures":1,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null},"failed_attempts":[{"number":1,"started_at":"2026-01-01T00:13:00+00:00","ended_at":"2026-01-01T00:13:00+00:00","ended":"failed","error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}]}');
INSERT INTO "history" VALUES('restarted',1,'{"format":1,"step":"flight","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:15:00+00:00","ended_at":"2026-01-01T00:15:00+00:00","output":"flight of attempt 1","set":{"flight":1},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('restarted',2,'{"format":1,"step":"hotel","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:15:00+00:00","ended_at":"2026-01-01T00:15:00+00:00","output":"hotel of attempt 1","set":{"hotel":2},"replaced":true,"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('restarted',3,'{"format":1,"step":"car","status":"completed","place":3,"attempts":1,"started_at":"2026-01-01T00:15:00+00:00","ended_at":"2026-01-01T00:15:00+00:00","output":"car of attempt 1","set":{"car":3},"replaced":true,"finished":3,"folded":3,"outcome":"completed"}');
INSERT INTO "history" VALUES('restarted',4,'{"format":1,"step":"hotel","status":"completed","place":4,"attempts":1,"started_at":"2026-01-01T00:16:00+00:00","ended_at":"2026-01-01T00:16:00+00:00","output":"hotel of attempt 1","set":{"hotel":2},"generation":2,"run":2,"finished":4,"folded":4,"outcome":"completed"}');
INSERT INTO "history" VALUES('restarted',5,'{"format":1,"step":"car","status":"completed","place":5,"attempts":1,"started_at":"2026-01-01T00:16:00+00:00","ended_at":"2026-01-01T00:16:00+00:00","output":"car of attempt 1","set":{"car":3},"generation":2,"run":2,"finished":5,"folded":5,"outcome":"completed"}');
INSERT INTO "history" VALUES('cancelling',1,'{"format":1,"step":"flight","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:17:00+00:00","ended_at":"2026-01-01T00:17:00+00:00","output":"flight of attempt 1","set":{"flight":1},"finished":1,"folded":1,"outcome":"completed"}');
INSERT INTO "history" VALUES('cancelling',2,'{"format":1,"step":"hotel","status":"completed","place":2,"attempts":1,"started_at":"2026-01-01T00:17:00+00:00","ended_at":"2026-01-01T00:17:00+00:00","output":"hotel of attempt 1","set":{"hotel":2},"finished":2,"folded":2,"outcome":"completed"}');
INSERT INTO "history" VALUES('cancelling',3,'{"format":1,"step":"car","status":"completed","place":3,"attempts":1,"started_at":"2026-01-01T00:17:00+00:00","ended_at":"2026-01-01T00:17:00+00:00","output":"car of attempt 1","set":{"car":3},"finished":3,"folded":3,"outcome":"completed","compensation":{"status":"completed","attempts":1,"failures":0,"started_at":"2026-01-01T00:18:00+00:00","ended_at":"2026-01-01T00:18:00+00:00","finished":5,"run":1,"set":{"undone_car":3}}}');
INSERT INTO "history" VALUES('cancelling',4,'{"format":1,"step":"invitation","status":"failed","place":4,"attempts":1,"started_at":"2026-01-01T00:17:00+00:00","ended_at":"2026-01-01T00:18:00+00:00","set":{},"waiting":{"signal":"invitation","until":"2026-04-01T00:17:00+00:00"},"folded":4,"outcome":"unknown","suspended_at":"2026-01-01T00:17:00+00:00","error":{"type":"InstanceCancelledError","message":"instance ''cancelling'' was cancelled: a change of mind","traceback":"Traceback (most recent call last): …\n","cause":null}}');
INSERT INTO "history" VALUES('failed',1,'{"format":1,"step":"taste","status":"failed","place":1,"attempts":1,"started_at":"2026-01-01T00:19:00+00:00","ended_at":"2026-01-01T00:19:00+00:00","failures":1,"error":{"type":"RuntimeError","message":"taste is out of order","traceback":"Traceback (most recent call last): …\n","cause":null},"failed_attempts":[{"number":1,"started_at":"2026-01-01T00:19:00+00:00","ended_at":"2026-01-01T00:19:00+00:00","ended":"failed","error":{"type":"RuntimeError","message":"taste is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}]}');
INSERT INTO "history" VALUES('napping',1,'{"format":1,"step":"nap","status":"suspended","place":1,"attempts":1,"started_at":"2026-01-01T00:20:00+00:00","ended_at":null,"set":{},"waiting":{"signal":null,"until":"2026-01-31T00:20:00+00:00","default":null},"folded":1,"suspended_at":"2026-01-01T00:20:00+00:00"}');
INSERT INTO "history" VALUES('asking',1,'{"format":1,"step":"nap","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:21:00+00:00","ended_at":"2026-01-01T00:21:00+00:00","output":null,"set":{},"finished":2,"folded":1,"outcome":"completed","suspended_at":"2026-01-01T00:21:00+00:00"}');
INSERT INTO "history" VALUES('asking',3,'{"format":1,"step":"ask","status":"suspended","place":3,"attempts":1,"started_at":"2026-01-01T00:21:00+00:00","ended_at":null,"set":{},"waiting":{"signal":"answer","until":"2026-01-31T00:21:00+00:00","default":{"by":null}},"folded":3,"suspended_at":"2026-01-01T00:21:00+00:00"}');
INSERT INTO "history" VALUES('dialling',1,'{"format":1,"step":"nap","status":"completed","place":1,"attempts":1,"started_at":"2026-01-01T00:22:00+00:00","ended_at":"2026-01-01T00:22:00+00:00","output":null,"set":{},"finished":2,"folded":1,"outcome":"completed","suspended_at":"2026-01-01T00:22:00+00:00"}');
INSERT INTO "history" VALUES('dialling',3,'{"format":1,"step":"ask","status":"completed","place":3,"attempts":1,"started_at":"2026-01-01T00:22:00+00:00","ended_at":"2026-01-01T00:22:00+00:00","output":{"by":null},"set":{},"finished":4,"folded":3,"outcome":"completed","suspended_at":"2026-01-01T00:22:00+00:00"}');
INSERT INTO "history" VALUES('dialling',5,'{"format":1,"step":"dial","status":"running","place":5,"attempts":1,"started_at":"2026-01-01T00:22:00+00:00","ended_at":null,"failures":1,"retry_at":"2026-01-21T00:22:00+00:00","error":{"type":"RuntimeError","message":"dial is out of order","traceback":"Traceback (most recent call last): …\n","cause":null},"failed_attempts":[{"number":1,"started_at":"2026-01-01T00:22:00+00:00","ended_at":"2026-01-01T00:22:00+00:00","ended":"failed","error":{"type":"RuntimeError","message":"dial is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}]}');
INSERT INTO "history" VALUES('parked',1,'{"format":1,"step":"taste","status":"running","place":1,"attempts":2,"started_at":"2026-01-06T00:23:00+00:00","ended_at":null,"outcome":"unknown","error":{"type":"OutcomeUnknownError","message":"attempt 2 of step ''taste'' was interrupted; whether it acted is unknown","traceback":"","cause":null},"failed_attempts":[{"number":1,"started_at":"2026-01-06T00:23:00+00:00","ended_at":"2026-01-06T00:23:00+00:00","ended":"interrupted","error":{"type":"OutcomeUnknownError","message":"attempt 1 of step ''taste'' was interrupted; whether it acted is unknown","traceback":"","cause":null}},{"number":2,"started_at":"2026-01-11T00:23:00+00:00","ended_at":"2026-01-11T00:23:00+00:00","ended":"interrupted","error":{"type":"OutcomeUnknownError","message":"attempt 2 of step ''taste'' was interrupted; whether it acted is unknown","traceback":"","cause":null}}]}');
CREATE TABLE inbox (
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    sent_at TEXT NOT NULL,
    signal_id TEXT,
    consumed_by TEXT,
    PRIMARY KEY (id, number)
);
INSERT INTO "inbox" VALUES('completed',1,'approved','{"by":"kim","at":[1,2.5,null,true,"ä"]}','2026-01-01T00:01:00.000000+00:00','evt-1','approval');
INSERT INTO "inbox" VALUES('unread',1,'news','"nobody reads it"','2026-01-01T00:04:00.000000+00:00','evt-2',NULL);
INSERT INTO "inbox" VALUES('paused',1,'flux:pause','{"reason":"stock-taking"}','2026-01-01T00:06:00.000000+00:00',NULL,'pause');
INSERT INTO "inbox" VALUES('cancelled',1,'flux:cancel','{"rollback":true,"reason":"a change of mind"}','2026-01-01T00:08:00.000000+00:00',NULL,'cancel');
INSERT INTO "inbox" VALUES('cancelling',1,'flux:cancel','{"rollback":true,"reason":"a change of mind"}','2026-01-01T00:18:00.000000+00:00',NULL,'cancel');
CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    owner TEXT,
    lease_until TEXT,
    wake_at TEXT,
    last_signal INTEGER NOT NULL DEFAULT 0,
    labels TEXT NOT NULL,
    unique_key TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    ended_at TEXT,
    intent TEXT NOT NULL,
    payload TEXT NOT NULL
);
INSERT INTO "instances" VALUES('completed','order','1','completed',7,'an-engine:1',NULL,NULL,1,'{"kept":"for long","flux:by:sku":"\"article completed\""}','order:{"sku":"article completed"}','2026-01-01T00:00:00.000000+00:00','2026-01-01T00:01:00.000000+00:00','2026-01-01T00:01:00.000000+00:00','[]','{"format":1,"direction":"forward","run":1,"ticks":5,"recoveries":0,"inbox_read":1}');
INSERT INTO "instances" VALUES('suspended','order','1','suspended',4,'an-engine:1',NULL,'2026-04-01T00:02:00.000000+00:00',0,'{"kept":"for long","flux:by:sku":"\"article suspended\""}','order:{"sku":"article suspended"}','2026-01-01T00:02:00.000000+00:00','2026-01-01T00:02:00.000000+00:00',NULL,'[]','{"format":1,"direction":"forward","run":1,"ticks":3,"recoveries":0}');
INSERT INTO "instances" VALUES('unread','order','1','suspended',6,'an-engine:1',NULL,'2026-04-01T00:03:00.000000+00:00',1,'{"kept":"for long","flux:by:sku":"\"article unread\""}','order:{"sku":"article unread"}','2026-01-01T00:03:00.000000+00:00','2026-01-01T00:03:00.000000+00:00',NULL,'[]','{"format":1,"direction":"forward","run":1,"ticks":3,"recoveries":0}');
INSERT INTO "instances" VALUES('paused','order','1','paused',6,'an-engine:1',NULL,'2026-04-01T00:05:00.000000+00:00',1,'{"kept":"for long","flux:by:sku":"\"article paused\""}','order:{"sku":"article paused"}','2026-01-01T00:05:00.000000+00:00','2026-01-01T00:06:00.000000+00:00',NULL,'[]','{"format":1,"direction":"forward","run":1,"ticks":3,"recoveries":0,"reason":"stock-taking","inbox_read":1}');
INSERT INTO "instances" VALUES('cancelled','order','1','cancelled',7,'an-engine:1',NULL,NULL,1,'{"kept":"for long","flux:by:sku":"\"article cancelled\""}','order:{"sku":"article cancelled"}','2026-01-01T00:07:00.000000+00:00','2026-01-01T00:08:00.000000+00:00','2026-01-01T00:08:00.000000+00:00','[]','{"format":1,"direction":"back","run":1,"ticks":4,"recoveries":0,"error":{"type":"InstanceCancelledError","message":"instance ''cancelled'' was cancelled: a change of mind","traceback":"Traceback (most recent call last): …\n","cause":null},"cancelling":"rollback","inbox_read":1}');
INSERT INTO "instances" VALUES('abandoned','trip','1','running',2,'an-engine:1','2026-01-05T00:09:00.000000+00:00',NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:09:00.000000+00:00','2026-01-01T00:09:00.000000+00:00',NULL,'["hotel"]','{"format":1,"direction":"forward","run":1,"ticks":1,"recoveries":0}');
INSERT INTO "instances" VALUES('rolled_back','trip','1','rolled_back',6,'an-engine:1',NULL,NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:10:00.000000+00:00','2026-01-01T00:10:00.000000+00:00','2026-01-01T00:10:00.000000+00:00','[]','{"format":1,"direction":"back","run":1,"ticks":5,"recoveries":0,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}');
INSERT INTO "instances" VALUES('rolling_back','trip','1','rolling_back',4,'an-engine:1','2026-01-05T00:11:00.000000+00:00',NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:11:00.000000+00:00','2026-01-01T00:11:00.000000+00:00',NULL,'["hotel"]','{"format":1,"direction":"back","run":1,"ticks":3,"recoveries":0,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}');
INSERT INTO "instances" VALUES('rollback_failed','trip','1','rollback_failed',5,'an-engine:1',NULL,NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:12:00.000000+00:00','2026-01-01T00:12:00.000000+00:00',NULL,'[]','{"format":1,"direction":"back","run":1,"ticks":4,"recoveries":0,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}');
INSERT INTO "instances" VALUES('settled','trip','1','rolled_back',8,'an-engine:1',NULL,NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:13:00.000000+00:00','2026-01-01T00:14:00.000000+00:00','2026-01-01T00:14:00.000000+00:00','[]','{"format":1,"direction":"back","run":1,"ticks":5,"recoveries":0,"error":{"type":"RuntimeError","message":"car is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}');
INSERT INTO "instances" VALUES('restarted','trip','1','completed',8,'an-engine:1',NULL,NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:15:00.000000+00:00','2026-01-01T00:16:00.000000+00:00','2026-01-01T00:16:00.000000+00:00','[]','{"format":1,"direction":"forward","run":2,"ticks":5,"recoveries":0,"undated":true}');
INSERT INTO "instances" VALUES('cancelling','hosted trip','1','rolling_back',8,'an-engine:1','2026-01-05T00:18:00.000000+00:00',NULL,1,'{"kept":"for long"}',NULL,'2026-01-01T00:17:00.000000+00:00','2026-01-01T00:18:00.000000+00:00',NULL,'["hotel"]','{"format":1,"direction":"back","run":1,"ticks":5,"recoveries":0,"error":{"type":"InstanceCancelledError","message":"instance ''cancelling'' was cancelled: a change of mind","traceback":"Traceback (most recent call last): …\n","cause":null},"cancelling":"rollback","inbox_read":1}');
INSERT INTO "instances" VALUES('failed','poison','1','failed',2,'an-engine:1',NULL,NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:19:00.000000+00:00','2026-01-01T00:19:00.000000+00:00','2026-01-01T00:19:00.000000+00:00','[]','{"format":1,"direction":"back","run":1,"ticks":1,"recoveries":0,"error":{"type":"RuntimeError","message":"taste is out of order","traceback":"Traceback (most recent call last): …\n","cause":null}}');
INSERT INTO "instances" VALUES('napping','waits','1','suspended',2,'an-engine:1',NULL,'2026-01-31T00:20:00.000000+00:00',0,'{"kept":"for long"}',NULL,'2026-01-01T00:20:00.000000+00:00','2026-01-01T00:20:00.000000+00:00',NULL,'[]','{"format":1,"direction":"forward","run":1,"ticks":1,"recoveries":0}');
INSERT INTO "instances" VALUES('asking','waits','1','suspended',3,'an-engine:1',NULL,'2026-01-31T00:21:00.000000+00:00',0,'{"kept":"for long"}',NULL,'2026-01-01T00:21:00.000000+00:00','2026-01-01T00:21:00.000000+00:00',NULL,'[]','{"format":1,"direction":"forward","run":1,"ticks":3,"recoveries":0}');
INSERT INTO "instances" VALUES('dialling','waits','1','running',4,'an-engine:1',NULL,'2026-01-21T00:22:00.000000+00:00',0,'{"kept":"for long"}',NULL,'2026-01-01T00:22:00.000000+00:00','2026-01-01T00:22:00.000000+00:00',NULL,'[]','{"format":1,"direction":"forward","run":1,"ticks":5,"recoveries":0}');
INSERT INTO "instances" VALUES('parked','poison','1','parked',5,'an-engine:1',NULL,NULL,0,'{"kept":"for long"}',NULL,'2026-01-01T00:23:00.000000+00:00','2026-01-11T00:23:00.000000+00:00',NULL,'[]','{"format":1,"direction":"forward","run":1,"ticks":2,"recoveries":2,"reason":"recovered 1 times at step ''taste'' without progress; resume gives it a fresh budget"}');
CREATE TABLE labels (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (name, value, id)
) WITHOUT ROWID;
INSERT INTO "labels" VALUES('flux:by:sku','"article cancelled"','cancelled');
INSERT INTO "labels" VALUES('flux:by:sku','"article completed"','completed');
INSERT INTO "labels" VALUES('flux:by:sku','"article paused"','paused');
INSERT INTO "labels" VALUES('flux:by:sku','"article suspended"','suspended');
INSERT INTO "labels" VALUES('flux:by:sku','"article unread"','unread');
INSERT INTO "labels" VALUES('kept','for long','abandoned');
INSERT INTO "labels" VALUES('kept','for long','asking');
INSERT INTO "labels" VALUES('kept','for long','cancelled');
INSERT INTO "labels" VALUES('kept','for long','cancelling');
INSERT INTO "labels" VALUES('kept','for long','completed');
INSERT INTO "labels" VALUES('kept','for long','dialling');
INSERT INTO "labels" VALUES('kept','for long','failed');
INSERT INTO "labels" VALUES('kept','for long','napping');
INSERT INTO "labels" VALUES('kept','for long','parked');
INSERT INTO "labels" VALUES('kept','for long','paused');
INSERT INTO "labels" VALUES('kept','for long','restarted');
INSERT INTO "labels" VALUES('kept','for long','rollback_failed');
INSERT INTO "labels" VALUES('kept','for long','rolled_back');
INSERT INTO "labels" VALUES('kept','for long','rolling_back');
INSERT INTO "labels" VALUES('kept','for long','settled');
INSERT INTO "labels" VALUES('kept','for long','suspended');
INSERT INTO "labels" VALUES('kept','for long','unread');
CREATE TABLE shared_values (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    expires_at TEXT
);
CREATE INDEX instances_by_age ON instances (created_at, id);
CREATE INDEX instances_by_workflow ON instances (workflow, created_at, id);
CREATE INDEX instances_by_status ON instances (status, created_at, id);
CREATE INDEX instances_due ON instances (coalesce(lease_until, wake_at), id)
    WHERE coalesce(lease_until, wake_at) IS NOT NULL;
CREATE UNIQUE INDEX instances_live_key ON instances (unique_key)
    WHERE ended_at IS NULL AND unique_key IS NOT NULL;
CREATE UNIQUE INDEX inbox_signal_id ON inbox (id, signal_id) WHERE signal_id IS NOT NULL;
CREATE INDEX shared_values_by_expiry ON shared_values (expires_at) WHERE expires_at IS NOT NULL;
COMMIT;
